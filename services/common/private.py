"""Files of people are there for the user who runs RECO, and for nobody else on the machine."""

import os

#: Modes of new folders and files.
FOLDER_MODE, FILE_MODE = 0o700, 0o600


def keep_files_private() -> None:
    """What this process and its children make from now on, its user alone can read; what is there stays as it is."""
    os.umask(0o777 & ~FOLDER_MODE)


def private_opener(path: str, flags: int) -> int:
    """For `open`: a file that is made by it is its user's alone, whatever the process's habit."""
    return os.open(path, flags, FILE_MODE)
