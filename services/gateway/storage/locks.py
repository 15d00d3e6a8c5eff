"""One enrollment of a person at a time, over all gateways that share the image database."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.call import seconds_left
from services.gateway.errors import Busy, StorageRefused

#: Lock files that IDs are spread over: a fixed number, so that none are left behind.
STRIPES = 256


@contextmanager
def person_lock(folder: Path, person_id: str) -> Iterator[None]:
    """Holds the lock of a person, at most until the present request's deadline is near.

    The kernel frees it when the process dies, however it dies.

    Raises:
        Busy: another holder did not let go in time.
        StorageRefused: the lock file cannot be made.
    """
    with stripe_lock(folder, stripe_of(person_id)):
        yield


def stripe_of(person_id: str) -> int:
    """Which lock file an ID belongs to, 0 to STRIPES - 1."""
    return int.from_bytes(hashlib.sha256(person_id.encode()).digest()[:4], "big") % STRIPES


@contextmanager
def stripe_lock(folder: Path, stripe: int) -> Iterator[None]:
    """Holds the lock of all people of a stripe; raises Busy as `person_lock` does."""
    descriptor = _open(folder / ".locks" / f"{stripe:03d}")
    try:
        _acquire(descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
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
