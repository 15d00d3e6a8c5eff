"""Templates (embeddings) as the embedder's domain code passes them around."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.errors import InvalidRequest

#: Lengths of templates; those of real networks are between 0.1 and 100.
SHORTEST, LONGEST = 1e-9, 1e9


@dataclass(frozen=True)
class Template:
    """One face as one model sees it.

    Attributes:
        model: the model's name.
        version: identifies its weights, alignment and normalisation; only templates of one version are compared.
        vector: float32 (d,), as the network gives it, not normalised.
    """

    model: str
    version: str
    vector: np.ndarray


@dataclass(frozen=True)
class Templates:
    """What is stored of one person by one model; row i of every attribute is of one photo.

    Attributes:
        photo_ids: unique within the person.
        augmented: bool (n,), true where the photo was made from another one.
        vectors: float32 (n, d), raw.
    """

    photo_ids: tuple[str, ...]
    augmented: np.ndarray
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.photo_ids)

    def real(self) -> "Templates":
        """Those of photos as taken."""
        rows = np.flatnonzero(~self.augmented)
        ids = tuple(self.photo_ids[row] for row in rows)
        return Templates(ids, self.augmented[rows], self.vectors[rows])


@dataclass(frozen=True)
class StoredPhoto:
    """A photo to be stored.

    Attributes:
        photo_id: unique within the person.
        augmented: made from another photo rather than taken.
        vectors: model key → float32 (d,), raw.
    """

    photo_id: str
    augmented: bool
    vectors: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PersonChange:
    """What is to be stored of a person: `photos` and, of those stored already, the ones to keep.

    Attributes:
        changing: the models (keys) of which `photos` are set; none where of all.
    """

    person_id: str
    photos: Sequence[StoredPhoto]
    keep_photo_ids: Collection[str] = ()
    changing: Collection[str] = ()


@dataclass(frozen=True)
class PersonGallery:
    """What is stored of a person.

    Attributes:
        templates: of each model that was asked for, in the order of photo ids.
        is_complete: whether there are photos, and every one has a template of each of these models.
    """

    templates: tuple[Templates, ...]
    is_complete: bool


def no_templates(dimension: int = 0) -> Templates:
    """Templates of a person of whom nothing is stored."""
    return Templates((), np.zeros(0, dtype=bool), np.zeros((0, dimension), dtype=np.float32))


def model_key(name: str, version: str) -> str:
    """What templates are stored under: only like is compared with like."""
    return f"{name}:{version}"


def name_of(model: str) -> str:
    """The name of a model (key)."""
    return model.partition(":")[0]


def check_vectors(vectors: np.ndarray) -> None:
    """Raises InvalidRequest unless every row of float32 (n, d) is finite and of a length that can be computed with."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    if not ((squares > SHORTEST**2) & (squares < LONGEST**2)).all():  # false for NaN too
        raise InvalidRequest("a template must be finite and not all zero (are the landmarks those of a face?)")
