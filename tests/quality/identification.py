"""Searches: how often a stranger is taken for somebody, and somebody enrolled is not found, by the number of people.

Terms of ISO/IEC 19795-1. FPIR: share of strangers' searches that find somebody; FNIR: share of searches with another photo
of an enrolled person that do not have them first. One photo a person is enrolled, the first of their folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.embedder.matching import unit
from services.embedder.recognition.thresholds import Threshold

#: Galleries, as many of each as make for about so many searches, drawn by chance.
SIZES = (1, 10, 100, 500, 1000, 5000, 10_000)
SEARCHES = 3000
SEED = 1


@dataclass(frozen=True)
class Rates:
    """Of searches among so many people: FPIR and FNIR, and how many searches they rest on."""

    people: int
    threshold: float
    fpir: float
    fnir: float
    strangers: int
    mates: int


def rates_by_size(
    templates: np.ndarray, people: Sequence[str], thresholds: dict[int, Threshold], seed: int = SEED
) -> list[Rates]:
    """FPIR and FNIR by cosine distance.

    Args:
        templates: float32 (photos, dimension); NaN where no face was found.
        people: of each photo.
        thresholds: by the number of people enrolled; sizes that leave no stranger are left out.
    """
    usable = np.isfinite(templates).all(axis=1)
    vectors, owners = unit(templates[usable]), np.array(people)[usable]
    names, first = np.unique(owners, return_index=True)
    rng = np.random.default_rng(seed)
    return [
        _rates(vectors, owners, names, first, size, threshold, rng)
        for size, threshold in thresholds.items()
        if size < len(names)
    ]


def _rates(
    vectors: np.ndarray,
    owners: np.ndarray,
    names: np.ndarray,
    first: np.ndarray,
    size: int,
    threshold: Threshold,
    rng: np.random.Generator,
) -> Rates:
    found = strangers = missed = mates = 0
    for _ in range(max(1, SEARCHES // size)):
        chosen = rng.choice(len(names), size, replace=False)
        inside = np.isin(owners, names[chosen])
        outside, others = np.flatnonzero(~inside), np.setdiff1d(np.flatnonzero(inside), first[chosen])
        outside = rng.choice(outside, min(len(outside), SEARCHES), replace=False)
        enrolled = vectors[first[chosen]]
        found += int((1 - (vectors[outside] @ enrolled.T).max(axis=1) <= threshold.distance).sum())
        strangers += len(outside)
        if len(others):
            table = 1 - vectors[others] @ enrolled.T
            nearest = table.argmin(axis=1)
            right = names[chosen][nearest] == owners[others]
            missed += int((~right | (table.min(axis=1) > threshold.distance)).sum())
            mates += len(others)
    return Rates(size, threshold.distance, found / max(1, strangers), missed / max(1, mates), strangers, mates)
