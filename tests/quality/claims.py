"""How many false claims pass where matching pairs are counted, over several photos and over several models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.embedder.matching import unit

#: Photos a claim brings, and photos it is compared with.
PHOTOS = 2


@dataclass(frozen=True)
class FalseClaims:
    """Claims of everybody to be everybody else.

    Attributes:
        count: of claims.
        one_pair, two_pairs: share in which at least so many pairs match.
    """

    count: int
    one_pair: float
    two_pairs: float


def false_claims(
    photos: Sequence[Path], models: Sequence[tuple[np.ndarray, float]], size: int = PHOTOS
) -> FalseClaims | None:
    """Claims of `size` photos against `size` photos of another person; None where no two people have so many.

    Args:
        photos: each in a folder of its person.
        models: by model its templates, float32 (photos, dimension), NaN where there is none, and its threshold for the
            cosine distance. Matching pairs are counted over all of them, as the contract has it.
    """
    usable = np.all([np.isfinite(templates).all(axis=1) for templates, _ in models], axis=0)
    people: dict[Path, list[int]] = {}
    for number in np.flatnonzero(usable).tolist():
        people.setdefault(photos[number].parent, []).append(number)
    chosen = np.array([numbers[:size] for numbers in people.values() if len(numbers) >= size])
    if len(chosen) < 2:
        return None
    counts = [_matching(templates[chosen.ravel()], threshold, size) for templates, threshold in models]
    matching = np.sum(counts, axis=0)
    others = matching[~np.eye(len(chosen), dtype=bool)]
    return FalseClaims(len(others), float((others >= 1).mean()), float((others >= 2).mean()))


def _matching(templates: np.ndarray, threshold: float, size: int) -> np.ndarray:
    """int (people, people): pairs that match, of one's photos and another's."""
    vectors = unit(templates)
    matches: np.ndarray = 1 - vectors @ vectors.T <= threshold
    count = len(templates) // size
    pairs: np.ndarray = matches.reshape(count, size, count, size).sum(axis=(1, 3))
    return pairs
