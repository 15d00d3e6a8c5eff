"""Deletion of folders that says what it could not delete."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def remove_tree(folder: Path, root: Path) -> list[str]:
    """Deletes a folder and all in it, as far as that can be done; one that is not there is deleted already.

    Returns:
        What is left: paths below `root`, each with the reason. Folders that only hold such files are not named.
    """
    left: dict[str, str] = {}

    def note(
        function: Callable[..., object], path: str, error: tuple[type[BaseException], BaseException, object]
    ) -> None:
        reason = getattr(error[1], "strerror", None) or str(error[1])
        if os.path.lexists(path):
            left[os.path.relpath(path, root)] = reason

    shutil.rmtree(folder, onerror=note)
    return [f"{path} ({why})" for path, why in left.items() if not any(other.startswith(f"{path}/") for other in left)]
