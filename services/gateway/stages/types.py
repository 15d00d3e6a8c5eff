"""The three stages behind the gateway, as its pipeline sees them (clients.py speaks to the real ones)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from services.common.faces import Box


@dataclass(frozen=True)
class Quality:
    """How good a photo is: `score` 0 to 10, `components` name → 0 to 1."""

    score: float
    components: dict[str, float]


@dataclass(frozen=True)
class Crop:
    """A face cut out: a picture's file, and five (x, y) landmarks in its frame."""

    image: bytes
    landmarks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PreparedFace:
    """A face of a photo, cut out and augmented; `box` in the photo's frame."""

    box: Box
    crop: Crop
    augmented: tuple[Crop, ...]


@dataclass(frozen=True)
class Look:
    """A photo's faces, and the photo itself or, `factor` times smaller, a version that shows them well enough."""

    faces: tuple[PreparedFace, ...]
    image: bytes
    factor: int = 1


class Verdict(Enum):
    """What the liveness stage thinks of a face."""

    REAL = 1
    SPOOF = 2
    UNDECIDABLE = 3


@dataclass(frozen=True)
class FaceLiveness:
    """`score`: probability of a living face, 0 to 1."""

    verdict: Verdict
    score: float


@dataclass(frozen=True)
class Template:
    """An embedding of a face by one model in one version."""

    model: str
    version: str
    vector: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class GalleryPhoto:
    """A photo to be enrolled; its templates where they are known already, else a crop to make them from."""

    photo_id: str
    augmented: bool
    crop: Crop
    templates: tuple[Template, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """How templates are compared: by which models, by which distance (cosine, euclidean, euclidean_l2)."""

    models: tuple[str, ...]
    distance: str


@dataclass(frozen=True)
class Match:
    """A probe's distance to an enrolled photo, and the model's threshold for it."""

    person_id: str
    distance: float
    threshold: float


@dataclass(frozen=True)
class Fusion:
    """What the models say together, each weighted by its measured error: verified at a score of 0 or more."""

    verified: bool
    score: float
    models: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """The outcome of 1:1; `best` is None where there was nothing to compare with, `fusion` where nothing was measured."""

    verified: bool
    best: Match | None
    fusion: Fusion | None = None


@dataclass(frozen=True)
class Identification:
    """The outcome of 1:N: people best first, and a mark that changes when templates were dropped."""

    matches: tuple[Match, ...]
    generation: str


class Detector(Protocol):
    def score(self, image: bytes) -> Quality: ...

    def prepare(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[PreparedFace]:
        """The faces as they are to be stored: PNG."""

    def augment(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[PreparedFace]:
        """The same faces, to be embedded only."""

    def look(self, image: bytes, size: tuple[int, int]) -> Look: ...


class Liveness(Protocol):
    def check(self, image: bytes, boxes: Sequence[Box]) -> list[FaceLiveness]: ...


class Embedder(Protocol):
    def embed(self, models: Sequence[str], crops: Sequence[Crop]) -> list[tuple[Template, ...]]: ...

    def enroll(
        self, person_id: str, models: Sequence[str], photos: Sequence[GalleryPhoto], keep: Sequence[str]
    ) -> None: ...

    def remove(self, person_id: str) -> None: ...

    def unenrolled(self, person_ids: Sequence[str], models: Sequence[str]) -> list[str]: ...

    def verify(
        self,
        person_id: str,
        comparison: Comparison,
        probes: Sequence[tuple[Template, ...]],
        augmented: Sequence[Crop],
        needed: tuple[int, int],
    ) -> Verification: ...

    def generation(self, models: Sequence[str]) -> str: ...

    def identify(self, comparison: Comparison, probes: Sequence[tuple[Template, ...]]) -> Identification: ...

    def rebuild_index(self, models: Sequence[str]) -> list[str]: ...
