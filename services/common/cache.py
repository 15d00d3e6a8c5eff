"""Files that are made once, by whoever needs them first, and kept: the one place where that is done."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_once(target: Path, make: Callable[[Path], None], is_good: Callable[[Path], bool] = Path.is_file) -> Path:
    """A file that is kept, made now where it is missing. Safe for several threads, and processes on one folder.

    Whoever finds the file finds the whole of it, and whatever was made beside it: it takes its name last, and only once
    all is on disk.

    Args:
        target: where it is kept; the folder is made if it is missing.
        make: writes the file at the path that it is given (of the same name, in a folder of its own on the same disk),
            and others beside it where it needs more than one.
        is_good: whether the file need not be made. Where its being there is enough, its name must tell what it was made
            of (a digest).

    Raises:
        OSError: the folder cannot be written to.
        Whatever `make` raises; nothing is kept then.
    """
    if is_good(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not is_good(target):
            with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
                draft = Path(folder) / target.name
                make(draft)
                for part in sorted(draft.parent.iterdir(), key=lambda path: path == draft):
                    put(part, target.with_name(part.name))
    return target


def put(written: Path, target: Path) -> None:
    """Gives a whole file its final name, readable to all; a power cut leaves what was there, or all of it."""
    written.chmod(0o644)
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(target)
