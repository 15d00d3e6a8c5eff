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
    faces = _Faces.of(templates, people)
    rng = np.random.default_rng(seed)
    return [_rates(faces, size, threshold, rng) for size, threshold in thresholds.items() if size < len(faces.names)]


@dataclass(frozen=True)
class _Faces:
    """Faces that were found: directions, whose, everybody's name, and the first face of each."""

    directions: np.ndarray
    owners: np.ndarray
    names: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, templates: np.ndarray, people: Sequence[str]) -> "_Faces":
        usable = np.isfinite(templates).all(axis=1)
        owners = np.array(people)[usable]
        return cls(unit(templates[usable]), owners, *np.unique(owners, return_index=True))


def _rates(faces: _Faces, size: int, threshold: Threshold, rng: np.random.Generator) -> Rates:
    found = strangers = missed = mates = 0
    for _ in range(max(1, SEARCHES // size)):
        chosen = rng.choice(len(faces.names), size, replace=False)
        inside = np.isin(faces.owners, faces.names[chosen])
        others = np.setdiff1d(np.flatnonzero(inside), faces.first[chosen])
        outside = rng.permutation(np.flatnonzero(~inside))[:SEARCHES]
        enrolled = faces.directions[faces.first[chosen]]
        found += int((1 - (faces.directions[outside] @ enrolled.T).max(axis=1) <= threshold.distance).sum())
        strangers += len(outside)
        if len(others):
            table = 1 - faces.directions[others] @ enrolled.T
            right = faces.names[chosen][table.argmin(axis=1)] == faces.owners[others]
            missed += int((~right | (table.min(axis=1) > threshold.distance)).sum())
            mates += len(others)
    return Rates(size, threshold.distance, found / max(1, strangers), missed / max(1, mates), strangers, mates)
