"""What has been enrolled already, in a file of a line each, so that a run that was killed goes on where it was."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock


@dataclass(frozen=True)
class Entry:
    """Somebody who was enrolled.

    Attributes:
        url: of the installation.
        key: of `PersonPlan`.
        digests: SHA-256 of the photos that need not be sent again.
    """

    url: str
    key: str
    person_id: str
    digests: tuple[str, ...]


class Journal:
    """A file that is appended to; what a kill has left of a line is passed over. Several threads may write."""

    def __init__(self, path: Path, url: str):
        """
        Args:
            path: of the file, which is made where there is none; OSError where that cannot be.
            url: of the installation; what was enrolled elsewhere does not count.
        """
        self._url, self._lock = url, Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._file = open(os.open(path, flags, 0o600), "r+b")  # noqa: SIM115
        self._known: dict[str, Entry] = {}
        ends_whole = True
        for line in self._file:
            ends_whole = line.endswith(b"\n")
            if (entry := _read(line)) and entry.url == url:
                self._remember(entry)
        if not ends_whole:
            self._file.write(b"\n")

    def of(self, key: str) -> Entry | None:
        """Who was enrolled under a key."""
        return self._known.get(key)

    def write(self, key: str, person_id: str, digests: tuple[str, ...]) -> None:
        """Writes down that somebody was enrolled, so that it outlives this process."""
        entry = Entry(self._url, key, person_id, digests)
        with self._lock:
            self._file.write(json.dumps(asdict(entry)).encode() + b"\n")
            self._file.flush()
            self._remember(entry)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _remember(self, entry: Entry) -> None:
        before = self._known.get(entry.key)
        earlier = before.digests if before and before.person_id == entry.person_id else ()
        self._known[entry.key] = Entry(entry.url, entry.key, entry.person_id, (*earlier, *entry.digests))


def _read(line: bytes) -> Entry | None:
    try:
        told = json.loads(line)
        return Entry(str(told["url"]), str(told["key"]), str(told["person_id"]), tuple(map(str, told["digests"])))
    except (ValueError, KeyError, TypeError):
        return None
