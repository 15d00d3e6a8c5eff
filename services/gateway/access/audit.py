"""The audit log: who did what to whom, a line each, chained so that no line can be changed or taken out unseen.

A line is a JSON object. Its `hash` is the SHA-256 of the hash in the line before it and of all else in it; the first line
goes on from START. Whoever can write to the file could still make a whole new chain, or cut off its end: who wants to be
sure of that keeps the last hash, which `make audit` prints, elsewhere.
"""

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.common.env import EnvFile, EnvInvalid

log = logging.getLogger("reco")

START = "0" * 64

#: Bytes; longer lines are not written, and no line is looked for further back from the end of the file.
MAX_LINE = 4096

#: Characters of a value that are kept: an ID that was refused can be of any length.
MAX_VALUE = 200


@dataclass(frozen=True)
class Event:
    """Something that was done, or tried.

    Attributes:
        key: name of the key that it was done with; `anonymous`, `operator` (make key) or `retention` (nobody's).
        action: upload, verify, identify, enroll, update, merge, erase, view, export, deny, make_key or revoke_key.
        person: ID of the person that it was done to; of `deny` the path, of keys the key's name.
        outcome: how it ended: a result's name in lower case, or the reason of a refusal.
        request: the request's id.
    """

    key: str
    action: str
    person: str
    outcome: str
    request: str


@dataclass(frozen=True)
class Entry:
    """A line of the log as it was read.

    Attributes:
        number: of the line, from 1.
        event: None where the line is no entry.
        problem: why it cannot be trusted; empty where it follows from the line before it.
    """

    number: int
    time: str = ""
    event: Event | None = None
    hash: str = ""
    problem: str = ""


def append(path: Path, event: Event, now: datetime | None = None) -> None:
    """Adds an event; several processes may do so at once. Missing folders and the file are made, for the owner alone.

    Survives a process that is killed; after a power cut the last lines may be missing.

    Raises:
        OSError: it could not be written; then nothing of it is.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        end = os.pread(file, MAX_LINE, max(0, size - MAX_LINE))
        time = (now or datetime.now(UTC)).isoformat(timespec="milliseconds")
        line = _line(_cut(event), _last_hash(end), time)
        if end and not end.endswith(b"\n"):  # what a power cut left of a line stays to be seen, on a line of its own
            line = b"\n" + line
        if os.write(file, line) < len(line):
            os.ftruncate(file, size)
            raise OSError("the disk is full")
    finally:
        os.close(file)


class AuditFile:
    """The audit log where the settings say that it is."""

    def __init__(self, env_file: EnvFile, path: Path | None):
        """`path`: of the file; None for `audit.log` beside the ordinary log, wherever that is at the time."""
        self._env_file = env_file
        self._path = path

    @property
    def path(self) -> Path:
        """Raises EnvInvalid where LOG_LOC does not fit."""
        return self._path or Path(self._env_file.pick("LOG_LOC")["log_loc"]).with_name("audit.log")

    def record(self, event: Event) -> None:
        """Adds an event. A log that cannot be written to fails no request, but the ordinary log tells of it."""
        try:
            append(self.path, event)
        except (OSError, EnvInvalid) as err:
            log.error("the audit log cannot be written: %s", err)


def entries(path: Path) -> Iterator[Entry]:
    """All lines, each checked against the one before it; raises OSError where the file cannot be read."""
    previous = START
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            entry = _read(number, line, previous)
            previous = entry.hash or previous
            yield entry


def latest(path: Path, before: int | None, most: int) -> tuple[list[Entry], int]:
    """The last entries of the file, or of its first bytes, the latest first; what they follow from is not checked.

    Args:
        before: so many bytes of it; None for all.
        most: entries.

    Returns:
        Them, and the byte at which the earliest of them begins. No file has no entries.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            end = size if before is None else min(before, size)
            start = max(0, end - (most + 1) * MAX_LINE)
            file.seek(start)
            lines = file.read(end - start).splitlines(keepends=True)
    except FileNotFoundError:
        return [], 0
    taken = lines[-most:] if start == 0 or len(lines) > most else lines[1:]
    begin = end - sum(map(len, taken))
    return [_unchecked(line) for line in reversed(taken)], begin


def _unchecked(line: bytes) -> Entry:
    entry = _read(0, line, START)
    return entry if entry.event is None else Entry(0, entry.time, entry.event, entry.hash)


def _read(number: int, line: bytes, previous: str) -> Entry:
    try:
        fields = json.loads(line)
        time, event = fields["time"], Event(**{name.name: fields[name.name] for name in dataclasses.fields(Event)})
        stated = str(fields["hash"])
    except (ValueError, KeyError, TypeError):
        return Entry(number, problem="is not an entry")
    if line != _line(event, previous, time):  # the line itself, to the letter: what is read is what was hashed
        return Entry(number, time, event, stated, "was changed, or lines before it are missing or were put in")
    return Entry(number, time, event, stated)


def _line(event: Event, previous: str, time: str) -> bytes:
    fields = {"time": time, **dataclasses.asdict(event)}
    digest = hashlib.sha256(f"{previous}{json.dumps(fields)}".encode()).hexdigest()
    return json.dumps({**fields, "hash": digest}).encode("ascii") + b"\n"


def _cut(event: Event) -> Event:
    return Event(**{name: value[:MAX_VALUE] for name, value in dataclasses.asdict(event).items()})


def _last_hash(end: bytes) -> str:
    """The hash of the last entry in the last bytes of a file; whatever else is there, the chain breaks at it."""
    for line in reversed(end.splitlines()):
        try:
            return str(json.loads(line)["hash"])
        except (ValueError, KeyError, TypeError):
            continue
    return START
