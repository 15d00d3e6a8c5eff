"""The search index of one process, for tests."""

from pathlib import Path

from services.embedder.search.exact import ExactIndex


def new_exact_index(dimension: int, directory: Path | None = None) -> ExactIndex:
    """An empty one, with blocks of 64 templates of 32 numbers: a few hundred fill several of them."""
    return ExactIndex(dimension, directory, threads=2, block_bytes=64 * 32, first_rows=8)
