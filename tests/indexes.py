"""The search index of one process, for tests."""

from pathlib import Path

from services.embedder.integer_products import IntegerProducts
from services.embedder.search.exact import ExactIndex
from tests.e2e.system import ROOT

CACHE = ROOT / "var" / "cache"


def new_exact_index(dimension: int, directory: Path | None = None) -> ExactIndex:
    """An empty one."""
    return ExactIndex(dimension, IntegerProducts(CACHE), directory)
