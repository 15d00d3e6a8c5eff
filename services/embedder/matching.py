"""Comparing templates 1:1, and the rules that make a decision of distances. Pure functions."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.embedder.gallery.templates import Templates

#: Error rates between which models are weighed.
LEAST_ERROR, MOST_ERROR = 0.001, 0.45


class Metric(StrEnum):
    """How far apart two templates are; the lower the more alike."""

    COSINE = "cosine"  # 1 - cos, 0 to 2
    EUCLIDEAN = "euclidean"  # L2 of the raw templates
    EUCLIDEAN_L2 = "euclidean_l2"  # L2 of the templates at unit length, 0 to 2


@dataclass(frozen=True)
class Criterion:
    """When two templates of a model match: at distances up to `threshold` (above 0).

    Attributes:
        fmr: share of pairs of different people that match; None where nobody measured.
        fnmr: share of pairs of one person that do not; None likewise.
        usual: the threshold where nobody asks for another and two templates are compared, which similarity is told by;
            None: `threshold`.
    """

    model: str
    metric: Metric
    threshold: float
    fmr: float | None = None
    fnmr: float | None = None
    usual: float | None = None

    def similarity(self, distance: float) -> float:
        """100 at distance 0, 50 at the usual threshold, 0 from twice that on."""
        return max(0.0, 100 - 50 * distance / (self.usual or self.threshold))

    def match(self, person_id: str, photo_id: str, distance: float, probe: int = 0) -> "Match":
        """A pair at this distance."""
        similarity = self.similarity(distance)
        return Match(person_id, photo_id, self.model, distance, self.threshold, self.fmr, similarity, probe)


@dataclass(frozen=True)
class Match:
    """A pair of a probe and an enrolled photo; it matches where distance <= threshold.

    Attributes:
        fmr, similarity: see Criterion.
        probe: which one it was, from 0.
    """

    person_id: str
    photo_id: str
    model: str
    distance: float
    threshold: float
    fmr: float | None = None
    similarity: float = 0.0
    probe: int = 0

    @property
    def relative(self) -> float:
        """The distance in thresholds: comparable across models, up to 1 where the pair matches."""
        return self.distance / self.threshold

    def rank(self) -> tuple[float, str, str, str]:
        """Sorts the best first; equal distances in a fixed order."""
        return (self.relative, self.model, self.person_id, self.photo_id)


@dataclass(frozen=True)
class Pairs:
    """How many of the pairs that were compared match, and the best of them all (None where there was no pair)."""

    matching: int = 0
    best: Match | None = None


@dataclass(frozen=True)
class Fusion:
    """One decision of several models.

    Attributes:
        verified: whether `score` is 0 or more.
        score: weighted mean over `models` of 1 - distance / threshold of each one's best pair, at most 1.
        models: those whose error was measured; the others have no say.
    """

    verified: bool
    score: float
    models: tuple[str, ...]


def unit(vectors: np.ndarray) -> np.ndarray:
    """float64 (n, d): the rows of (n, d) at length 1; no row may be all zero."""
    wide = vectors.astype(np.float64)
    directions: np.ndarray = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return directions


def distances(metric: Metric, probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """All distances between two sets of raw templates.

    Worked out in float64 from differences rather than products, so that equal templates are exactly 0 apart, and the
    same pair has the same distance in 1:1 and 1:N. Cosine uses 1 - cos = |u - v|² / 2 for unit vectors u and v.

    Args:
        probes: float32 (p, d).
        gallery: float32 (g, d).

    Returns:
        float64 (p, g).
    """
    left, right = (side.astype(np.float64) if metric is Metric.EUCLIDEAN else unit(side) for side in (probes, gallery))
    squares = np.empty((len(left), len(right)))
    for row, probe in zip(squares, left, strict=True):
        difference = right - probe
        np.einsum("ij,ij->i", difference, difference, out=row)
    return squares / 2 if metric is Metric.COSINE else np.sqrt(squares)


def compare(criterion: Criterion, probes: np.ndarray, person_id: str, gallery: Templates) -> Pairs:
    """Compares every pair of a probe (float32 (p, d)) and a photo of the person."""
    if not len(probes) or not len(gallery):
        return Pairs()
    table = distances(criterion.metric, probes, gallery.vectors)
    nearest = table.min(axis=0)
    photo = min(range(len(gallery)), key=lambda column: (nearest[column], gallery.photo_ids[column]))
    distance = float(nearest[photo])
    best = criterion.match(person_id, gallery.photo_ids[photo], distance, int(table[:, photo].argmin()))
    return Pairs(int((table <= criterion.threshold).sum()), best)


def together(parts: Iterable[Pairs]) -> Pairs:
    """Counts run on over the models; the best pair is the lowest of all relative to its threshold."""
    parts = list(parts)
    bests = [part.best for part in parts if part.best]
    return Pairs(sum(part.matching for part in parts), min(bests, key=Match.rank, default=None))


def fuse(parts: Iterable[tuple[Criterion, Pairs]]) -> Fusion | None:
    """Weighs each model's best pair by the log odds of its recognising somebody, log((1 - e) / e) for FNMR e.

    That is the weight of a vote that is right with probability 1 - e (Kuncheva, Combining Pattern Classifiers, 4.3.2); at
    thresholds for one FMR, models differ in what they refuse.

    Returns:
        None where no model with a measured error has a pair.
    """
    votes = [
        (criterion.model, math.log((1 - _error(criterion.fnmr)) / _error(criterion.fnmr)), 1 - pairs.best.relative)
        for criterion, pairs in parts
        if criterion.fnmr is not None and pairs.best is not None
    ]
    if not votes:
        return None
    score = sum(weight * vote for _, weight, vote in votes) / sum(weight for _, weight, _ in votes)
    return Fusion(score >= 0, score, tuple(model for model, _, _ in votes))


def _error(fnmr: float) -> float:
    """So that every measured model has a say, and none the only one."""
    return min(max(fnmr, LEAST_ERROR), MOST_ERROR)


def suffices(pairs: Pairs, min_pairs: int, probes: int) -> bool:
    """The rule for real probes: `min_pairs` matching pairs verify, or as many as there are probes if that is fewer."""
    return probes > 0 and pairs.matching >= min(min_pairs, probes)


def one_a_person(matches: Iterable[Match]) -> list[Match]:
    """The best match of each person, best first."""
    found: dict[str, Match] = {}
    for match in sorted(matches, key=Match.rank):
        found.setdefault(match.person_id, match)
    return list(found.values())
