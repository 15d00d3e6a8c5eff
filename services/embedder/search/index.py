"""Search 1:N: which people's enrolled photos are nearest to each probe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.common.errors import RecoError
from services.embedder.gallery.templates import Templates
from services.embedder.matching import Metric

#: Distances that differ by no more are the same: of one photo that was enrolled under two IDs, say.
SAME = 1e-4


@dataclass(frozen=True)
class Hit:
    """The photo of a person that is nearest to a probe."""

    person_id: str
    photo_id: str
    distance: float


@dataclass(frozen=True)
class Rows:
    """Templates of photos of any people: float32 (n, d) raw vectors, and (person id, photo id) of each."""

    vectors: np.ndarray
    ids: Sequence[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> "Rows":
        return Rows(self.vectors[rows], self.ids[rows])

    def __add__(self, other: "Rows") -> "Rows":
        parts = [part for part in (self, other) if len(part)] or [self]
        return Rows(np.concatenate([part.vectors for part in parts]), [*self.ids, *other.ids])


def to_rows(people: Mapping[str, Templates]) -> Rows:
    """All templates of these people (person id → templates)."""
    those = [(person_id, templates) for person_id, templates in people.items() if len(templates)]
    ids = [(person_id, photo_id) for person_id, templates in those for photo_id in templates.photo_ids]
    vectors = [templates.vectors for _, templates in those] or [np.zeros((0, 0), dtype=np.float32)]
    return Rows(np.concatenate(vectors), ids)


class IndexUnavailable(RecoError):
    """The vector database that keeps the index cannot be reached, or refuses; later calls may succeed again."""

    status = "UNAVAILABLE"
    reason = "INDEX_UNAVAILABLE"


class Searchable(Protocol):
    """What can be searched. Safe to use from several threads."""

    def search(self, probes: np.ndarray, metric: Metric, threshold: float, people: int = 1) -> list[list[Hit]]:
        """Who is nearest to each row of float32 (p, d) raw templates, within `threshold`; empty where nobody is.

        So many people are found, and all whose nearest photo is no farther than SAME from the last one's, nearest first.
        Of a person's photos at one distance it is the first by its id, and people at one distance are in the order of
        theirs.
        """

    def __len__(self) -> int:
        """How many templates there are."""


class Index(Searchable, Protocol):
    """Templates of one model, searchable. Safe to use from several threads: readers never wait for a writer."""

    def add(self, people: Mapping[str, Templates]) -> None:
        """Takes in people it does not know (person id → all their templates): quicker than `apply`, for a start."""

    def apply(self, changes: Mapping[str, Templates]) -> None:
        """Replaces all that is known of these people (person id → all their templates); empty forgets the person."""

    def people_of(self, bucket: int) -> set[str]:
        """Ids of the people in a bucket (gallery/buckets.py) of whom there are templates."""


class Indexes(Protocol):
    """The search indexes of one gallery, a model each, with every change that was committed before a call.

    Methods raise DatabaseUnavailable, and where a vector database keeps the indexes IndexUnavailable.
    """

    def current(self, model: str, dimension: int) -> Searchable:
        """The up-to-date index of a model (key)."""

    def rebuild(self, model: str, dimension: int) -> Searchable:
        """Makes the index of a model (key) anew; until it is there, searches use the one that was."""

    def forget(self) -> None:
        """Drops the indexes; the next search makes them anew from what the gallery holds then."""

    def erase(self) -> None:
        """Deletes now, from whatever outlives the process, what is no longer in the gallery.

        Raises:
            IndexUnavailable: it could not; trying again is right.
        """
