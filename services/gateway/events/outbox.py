"""Notices that wait to be told, a file each: they outlive the process, and are no more than so many."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.gateway.events.notice import Notice

LOCK = ".sending"


@dataclass(frozen=True)
class Waiting:
    """A notice that waits: its file, since when (nanoseconds since 1970), and what is sent."""

    path: Path
    notice_id: str
    since: int
    body: bytes


class Outbox:
    """A folder of notices. Safe to use from several threads, and by all gateways of a machine."""

    def __init__(self, folder: Path, most: int = 10_000):
        """`most`: notices that wait; where there are as many, the oldest are dropped."""
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._room = most - len(self._names())

    def add(self, notice: Notice) -> int:
        """Adds a notice; returns how many were dropped for it. Raises OSError."""
        path = self._folder / f"{notice.moment:020d}-{notice.notice_id}.json"
        part = path.with_suffix(".part")
        part.write_bytes(notice.body())
        part.replace(path)
        with self._lock:
            self._room -= 1
            return self._make_room() if self._room < 0 else 0

    def waiting(self) -> Iterator[Waiting]:
        """The notices that wait now, in the order in which they came."""
        for name in self._names():
            path = self._folder / name
            try:
                body = path.read_bytes()
            except FileNotFoundError:  # dropped meanwhile
                continue
            moment, _, notice_id = path.stem.partition("-")
            yield Waiting(path, notice_id, int(moment), body)

    def remove(self, waiting: Waiting) -> None:
        """Forgets a notice that was told, or never will be."""
        waiting.path.unlink(missing_ok=True)

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Whether nobody else sends these notices; until the end nobody does."""
        with open(self._folder / LOCK, "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _make_room(self) -> int:
        """Looks how many there are by now, and drops a few where there are too many: not one each time."""
        names = self._names()
        left = self._most - self._most // 100
        dropped = names[:-left] if len(names) > self._most else []
        for name in dropped:
            (self._folder / name).unlink(missing_ok=True)
        self._room = self._most - (len(names) - len(dropped))
        return len(dropped)

    def _names(self) -> list[str]:
        """In the order in which they came."""
        names = (entry.name for entry in os.scandir(self._folder))
        return sorted(name for name in names if name.endswith(".json") and name[:20].isdigit())
