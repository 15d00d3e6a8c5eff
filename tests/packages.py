"""Files that PyPI packages carry, found without importing those: some print, some need what is not here."""

import importlib.util
from pathlib import Path

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"


def package_file(package: str, name: str) -> Path | None:
    """A file in an installed package, by its name; None where it is not there."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in Path(folder).rglob(name):
            return path
    return None
