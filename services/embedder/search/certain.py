"""The exact answer to a search that knows most distances only roughly: whatever may be nearest is compared in full."""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from services.embedder.matching import Metric, distances
from services.embedder.search.index import SAME, Hit, Rows

#: People found for one probe, whose templates would all have to be the same.
MAX_PEOPLE = 1000


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


def tied(square: float) -> float:
    """The squared distance, of whichever metric, up to which templates may be as near as one at `square`, see SAME."""
    return square + 2 * SAME * (1 + math.sqrt(square)) + SAME**2


def nearest(
    probe: np.ndarray, metric: Metric, threshold: float, candidates: Iterable[Candidates], people: int = 1
) -> list[Hit]:
    """Compares the most promising candidates in full, in double precision, until no other can be as near.

    Args:
        probe: float32 (d,), raw.
        people: how many are wanted.

    Returns:
        Of each person who has a photo within the threshold and no farther than SAME from the nearest one (the nearest of
        the last person wanted) the nearest photo, nearest first, MAX_PEOPLE at most. Of several as near it is the first
        in the order of (person id, photo id).
    """
    number = count()  # of candidates that promise as much, those that came first are read first
    waiting = [(one.at_least, next(number), one) for one in candidates]
    heapq.heapify(waiting)
    found: dict[str, Hit] = {}
    limit = threshold
    while waiting and waiting[0][0] <= squared(metric, limit):
        rows, more = heapq.heappop(waiting)[2].read()
        for one in more:
            heapq.heappush(waiting, (one.at_least, next(number), one))
        if not len(rows):
            continue
        exact = distances(metric, probe[None], rows.vectors)[0]
        if people == 1:
            limit = min(limit, float(exact.min()) + SAME)
        for row in np.flatnonzero(exact <= limit).tolist():
            hit = Hit(*rows.ids[row], float(exact[row]))
            found[hit.person_id] = min(found.get(hit.person_id, hit), hit, key=_rank)
        if people > 1 and len(found) >= people:
            limit = min(limit, sorted(hit.distance for hit in found.values())[people - 1] + SAME)
    near = sorted((hit for hit in found.values() if hit.distance <= limit), key=_rank)
    return near[:MAX_PEOPLE]


def _rank(hit: Hit) -> tuple[float, str, str]:
    return hit.distance, hit.person_id, hit.photo_id
