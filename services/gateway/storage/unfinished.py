"""Folders that are deleted with their process: at its end, or by others who find that it has died.

Where the file system does not lock files, those that are old are taken for left.
"""

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services.common.private import FOLDER_MODE
from services.gateway.storage.removal import remove_tree

#: In each folder: locked as long as its process lives.
LOCK = ".lock"

#: What file systems say that do not lock files.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)

#: Folders without a lock are just being made, or were left before they had one: by then, in seconds.
STALE_AFTER = 60


@contextmanager
def unfinished_folder(root: Path, name: str) -> Iterator[Path]:
    """A folder to write in; it is deleted at the end with all that is still there."""
    folder = root / name
    folder.mkdir(FOLDER_MODE)
    try:
        with open(folder / LOCK, "xb") as lock:
            _try_lock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        remove_tree(folder, root)


def remove_abandoned(root: Path, prefix: str) -> None:
    """Deletes the folders whose names begin so and whose process has died."""
    for folder in root.glob(f"{prefix}*"):
        if is_abandoned(folder):
            remove_tree(folder, root)


def is_abandoned(folder: Path) -> bool:
    """Whether nobody writes into it any more."""
    try:
        with open(folder / LOCK, "rb+") as lock:
            locks = _try_lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked_before = any(path.name != LOCK for path in folder.iterdir())  # who writes has locked it first
            return (locks and locked_before) or _is_stale(folder)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return _is_stale(folder)


def _try_lock(file: BinaryIO, how: int) -> bool:
    """Locks a file; False where the file system does not. Raises BlockingIOError where another has locked it."""
    try:
        fcntl.flock(file, how)
    except OSError as err:
        if err.errno not in NO_LOCKS:
            raise
        return False
    return True


def _is_stale(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > STALE_AFTER
    except FileNotFoundError:
        return False
