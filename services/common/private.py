"""Files of people are there for the user who runs RECO, and for nobody else on the machine."""

import os
from pathlib import Path

#: Modes of new folders and files.
FOLDER_MODE, FILE_MODE = 0o700, 0o600


def keep_files_private() -> None:
    """What this process and its children make from now on, its user alone can read; what is there stays as it is."""
    os.umask(0o777 & ~FOLDER_MODE)


def replace_private(path: Path, text: str) -> None:
    """Writes a file that is whole at every moment, also after a power cut; a new one is its user's alone."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "x", opener=private_opener) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        os.chmod(unfinished, path.stat().st_mode & 0o777)
    unfinished.replace(path)


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file that is made by it is its user's alone, whatever the process's habit."""
    return os.open(path, flags, FILE_MODE)
