"""Logs: one line an event, with time, level, request id and code. Never an image, a template or a password."""

import fcntl
import logging
import os
import sys
from pathlib import Path

from services.common.call import request_id

FORMAT = "%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s"

#: A log file is rotated at this many bytes, and this many old ones are kept.
MAX_LOG_BYTES = 10 * 1024 * 1024
KEPT_LOGS = 5


#: Characters that would end a line, or do something to a terminal, and what is written for them.
ESCAPES = {code: ascii(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _OneLine(logging.Formatter):
    """Whatever a caller sent that gets into a message, an event stays one line, and what looks like an event is one."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(ESCAPES)


def log_to_stdout(level: str = "INFO") -> None:
    """Sends the log of this process to its standard output, where the process manager or container collects it."""
    handler = logging.StreamHandler(sys.stdout)
    _attach(handler)
    logging.getLogger().setLevel(level)


def log_to_file(handler: "SharedFileHandler") -> None:
    """Sends the log to a file as well."""
    _attach(handler)


def _attach(handler: logging.Handler) -> None:
    handler.setFormatter(_OneLine(FORMAT))
    handler.addFilter(_RequestId())
    logging.getLogger().addHandler(handler)


class SharedFileHandler(logging.Handler):
    """Appends to a log file that several processes share and that may move while running; rotates it by size."""

    def __init__(self):
        super().__init__()
        self._path: Path | None = None

    def follow(self, path: Path) -> None:
        """Writes to `path` from now on; missing folders are made."""
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        if self._path is None:
            return
        line = self.format(record).translate(ESCAPES) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append(self._path, line.encode("utf-8", "replace"))
        except OSError as err:  # a full disk must not fail the request that is logged
            print(f"log file {self._path} cannot be written: {err}", file=sys.stderr)

    def _append(self, path: Path, line: bytes) -> None:
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            moved = not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino
            if not moved:
                file.write(line)
                file.flush()
                if file.tell() >= MAX_LOG_BYTES:
                    _rotate(path)
        if moved:
            self._append(path, line)


def _rotate(path: Path) -> None:
    for number in range(KEPT_LOGS - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))
