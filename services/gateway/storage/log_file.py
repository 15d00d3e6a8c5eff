"""The log file that `.env` names, which all gateways on a machine write to."""

import fcntl
import logging
import os
import sys
from pathlib import Path

from services.common.log import ESCAPES
from services.common.private import FOLDER_MODE, private_opener

#: Bytes at which a log file is rotated, and how many old ones are kept.
MAX_LOG_BYTES = 10 * 1024 * 1024
KEPT_LOGS = 5


class SharedFileHandler(logging.Handler):
    """Appends to a log file that several processes share and that may move while running; rotates it by size."""

    def __init__(self, max_bytes: int = MAX_LOG_BYTES, kept: int = KEPT_LOGS):
        """`max_bytes`: a file of that size is rotated; `kept`: so many old ones stay."""
        super().__init__()
        self._max_bytes = max_bytes
        self._kept = kept
        self._path: Path | None = None

    def follow(self, path: Path) -> None:
        """Writes to `path` from now on; missing folders are made."""
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        if self._path is None:
            return
        line = (self.format(record).translate(ESCAPES) + "\n").encode("utf-8", "replace")
        try:
            try:
                self._append(self._path, line)
            except FileNotFoundError:
                self._path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                self._append(self._path, line)
        except OSError as err:  # a full disk must not fail the request that is logged
            print(f"log file {self._path} cannot be written: {err}", file=sys.stderr)

    def _append(self, path: Path, line: bytes) -> None:
        with open(path, "ab", opener=private_opener) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            moved = not _is_at(path, file.fileno())
            if not moved:
                file.write(line)
                file.flush()
                if file.tell() >= self._max_bytes:
                    _rotate(path, self._kept)
        if moved:
            self._append(path, line)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file still has that name."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _rotate(path: Path, kept: int) -> None:
    for number in range(kept - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))
