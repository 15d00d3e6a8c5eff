"""One enrollment of a person at a time, over all gateways that share the image database, by locked files."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.call import seconds_left
from services.common.private import FILE_MODE, FOLDER_MODE
from services.gateway.errors import Busy, StorageRefused


class LockFiles:
    """Locks in one folder. The kernel frees a lock when its process dies, however it dies."""

    def __init__(self, folder: Path):
        self._folder = folder

    @contextmanager
    def hold(self, stripe: int) -> Iterator[None]:
        """See PersonLocks."""
        descriptor = self._open(self._folder / ".locks" / f"{stripe:03d}")
        try:
            _acquire(descriptor)
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def _open(path: Path) -> int:
        try:
            path.parent.mkdir(FOLDER_MODE, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as err:
            raise StorageRefused(f"the image database cannot be written to: {err.strerror}") from err


def _acquire(descriptor: int) -> None:
    wait = 0.002
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if seconds_left() < 1:
                raise Busy("another enrollment of this person is under way") from None
            time.sleep(wait)
            wait = min(2 * wait, 0.05)
