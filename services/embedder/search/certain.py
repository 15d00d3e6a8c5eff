"""The exact answer to a search that knows most distances only roughly: whatever may be nearest is compared in full."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from services.embedder.matching import Metric, distances
from services.embedder.search.index import Hit, Rows


@dataclass(frozen=True)
class Candidates:
    """Templates that may be the nearest, not read yet.

    Attributes:
        at_least: the squared distance (see `squared`) of none of them is less.
        read: gives the most promising ones, and what is left besides.
    """

    at_least: float
    read: Callable[[], tuple[Rows, Sequence["Candidates"]]]


def squared(metric: Metric, distance: float) -> float:
    """The squared L2 distance that a distance stands for; for cosine, that of the templates at unit length."""
    return 2 * distance if metric is Metric.COSINE else distance**2


def nearest(probe: np.ndarray, metric: Metric, threshold: float, candidates: Iterable[Candidates]) -> Hit | None:
    """Compares the most promising candidates in full, in double precision, until no other can be as near.

    Args:
        probe: float32 (d,), raw.

    Returns:
        The nearest within the threshold, None where there is none. Of several as near it is the first in the order of
        (person id, photo id).
    """
    number = count()  # of candidates that promise as much, those that came first are read first
    waiting = [(one.at_least, next(number), one) for one in candidates]
    heapq.heapify(waiting)
    best: Hit | None = None
    while waiting and waiting[0][0] <= squared(metric, best.distance if best else threshold):
        rows, more = heapq.heappop(waiting)[2].read()
        for one in more:
            heapq.heappush(waiting, (one.at_least, next(number), one))
        found = _nearest_of(rows, distances(metric, probe[None], rows.vectors)[0]) if len(rows) else None
        if found and found.distance <= threshold:
            best = min(best or found, found, key=_rank)
    return best


def _nearest_of(rows: Rows, exact: np.ndarray) -> Hit:
    distance = float(exact.min())
    person_id, photo_id = min(rows.ids[row] for row in np.flatnonzero(exact == distance).tolist())
    return Hit(person_id, photo_id, distance)


def _rank(hit: Hit) -> tuple[float, str, str]:
    return hit.distance, hit.person_id, hit.photo_id
