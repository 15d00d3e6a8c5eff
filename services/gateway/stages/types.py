"""What the pipeline knows of the three stages; detector.py, liveness.py and embedder.py call them for real."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.common.faces import Box, Verdict, View


@dataclass(frozen=True)
class PhotoQuality:
    """How good a photo is: `score` 0 to 10, `components` name → 0 to 1."""

    score: float
    components: dict[str, float]


@dataclass(frozen=True)
class CropFile:
    """A face cut out: a picture's file, and five (x, y) landmarks in its frame."""

    image: bytes
    landmarks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FoundFace:
    """A face of a photo, cut out and augmented.

    Attributes:
        box: in the photo's frame.
        quarter_turns: by how many quarters it is turned clockwise in the photo, 0 to 3.
        landmarks: five (x, y) in the photo's frame, in the order of LANDMARK_NAMES.
        confidence: that it is a face, 0 to 1.
        views: of it, as they were asked for; none where they could not be had.
    """

    box: Box
    crop: CropFile
    augmented: tuple[CropFile, ...]
    quarter_turns: int = 0
    landmarks: tuple[tuple[float, float], ...] = ()
    confidence: float = 1.0
    views: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Detection:
    """A photo and its faces.

    Attributes:
        size: width and height, pixels.
        views: in which the faces are shown.
    """

    faces: tuple[FoundFace, ...]
    image: bytes = field(repr=False)
    size: tuple[int, int] = (0, 0)
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class FaceLiveness:
    """`score`: probability of a living face, 0 to 1; 0 where undecidable."""

    verdict: Verdict
    score: float


@dataclass(frozen=True)
class FaceTemplate:
    """An embedding of a face by one model in one version."""

    model: str
    version: str
    vector: tuple[float, ...] = field(repr=False)


#: (person id, photo id) → templates.
PhotoTemplates = dict[tuple[str, str], tuple[FaceTemplate, ...]]


#: A face that is compared or enrolled: its templates, or the crop that they are made of.
Probe = tuple[FaceTemplate, ...] | CropFile


@dataclass(frozen=True)
class EnrollmentPhoto:
    """A photo to be enrolled."""

    photo_id: str
    augmented: bool
    face: Probe


@dataclass(frozen=True)
class EnrolledPerson:
    """A person's photos as they shall be: these, and of those that are enrolled already the ones to keep."""

    person_id: str
    photos: tuple[EnrollmentPhoto, ...]
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """Which threshold is applied rather than the usual one, at most one of them: a distance, or a false match rate."""

    threshold: float | None = None
    max_fmr: float | None = None


#: The usual one.
USUAL = Limit()


@dataclass(frozen=True)
class Measure:
    """How templates are compared: by which models and distance (cosine, euclidean, euclidean_l2), up to which limit."""

    models: tuple[str, ...]
    distance: str
    limit: Limit = USUAL


@dataclass(frozen=True)
class PersonMatch:
    """A probe's distance to a photo of a person.

    Attributes:
        threshold: that was applied.
        fmr: false match rate that it stands for, if that is known.
        similarity: 0 to 100; 50 at the model's usual threshold.
        probe: which one it was, from 0.
    """

    person_id: str
    distance: float
    threshold: float
    fmr: float | None = None
    similarity: float = 0.0
    model: str = ""
    probe: int = 0


@dataclass(frozen=True)
class FacePair:
    """Two faces compared, by their numbers; `fmr`: the share of pairs of two people that are as near or nearer."""

    probe: int
    other: int
    matches: bool
    model: str
    distance: float
    threshold: float
    similarity: float
    fmr: float | None


@dataclass(frozen=True)
class AppliedThreshold:
    """A model's in a search, and the false match rate it stands for, if that is known."""

    model: str
    threshold: float
    fmr: float | None


@dataclass(frozen=True)
class FusedDecision:
    """What the models say together, each weighted by its measured error: verified at a score of 0 or more."""

    verified: bool
    score: float
    models: tuple[str, ...]


@dataclass(frozen=True)
class ClaimDecision:
    """The outcome of 1:1.

    Attributes:
        verified: by the rule of counting pairs.
        best: None where there was nothing to compare with.
        fusion: None where no model's error was measured.
        templates: of each probe.
        unenrolled: whether the person lacks templates, as EmbedderStage.unenrolled says.
    """

    verified: bool
    best: PersonMatch | None
    fusion: FusedDecision | None = None
    templates: tuple[tuple[FaceTemplate, ...], ...] = ()
    unenrolled: bool = False


@dataclass(frozen=True)
class IdentifiedPeople:
    """The outcome of 1:N: people best first, and a mark that changes when templates were dropped."""

    matches: tuple[PersonMatch, ...]
    generation: str
    thresholds: tuple[AppliedThreshold, ...] = ()


@dataclass(frozen=True)
class RecogniserFacts:
    """A recogniser: its version, its templates' dimension, its threshold for the distance in use, who fitted that, and the
    false match rate it stands for, if that is known."""

    name: str
    version: str
    dimension: int
    threshold: float
    source: str
    fmr: float | None = None


class DetectorStage(Protocol):
    """Finds faces and scores photos. Every method raises InvalidImage where the bytes are no picture."""

    def score(self, image: bytes) -> PhotoQuality:
        """How good a photo is for recognition."""

    def detect(self, image: bytes, size: tuple[int, int], views: tuple[View, ...] = ()) -> Detection:
        """The faces, to be embedded and checked for liveness only.

        Args:
            size: of a crop: width, height.
            views: in which they are to be shown; see LivenessStage.
        """

    def prepare(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[FoundFace]:
        """The faces as they are to be stored (PNG), each with so many augmented versions."""

    def augment(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[FoundFace]:
        """The same, to be embedded only."""


class LivenessStage(Protocol):
    """Tells living faces from printed and replayed ones."""

    @property
    def views(self) -> tuple[View, ...]:
        """In which it wants to see faces, as it has said last: of such it can judge without the photo."""

    def check(self, found: Detection) -> list[FaceLiveness]:
        """A verdict for each face of a photo, of which there is one at least.

        Raises:
            LivenessUnavailable.
        """


class EmbedderStage(Protocol):
    """Embeds faces, and keeps, compares and searches the templates of enrolled people."""

    def embed(self, models: Sequence[str], crops: Sequence[CropFile]) -> list[tuple[FaceTemplate, ...]]:
        """The templates of each face, in the order of `models`. Stores nothing."""

    def enroll(
        self,
        person_id: str,
        models: Sequence[str],
        photos: Sequence[EnrollmentPhoto],
        keep: Sequence[str],
        keep_other_models: bool = False,
    ) -> None:
        """Sets what is stored of a person: `photos`, and of those stored earlier the ones in `keep`. Idempotent.

        Args:
            keep_other_models: whether `photos` keep what is stored of them by other models.
        """

    def enroll_people(self, models: Sequence[str], people: Sequence[EnrolledPerson]) -> None:
        """`enroll` of several people: all, or nobody."""

    def remove(self, person_id: str) -> None:
        """Deletes what is stored of a person. Idempotent."""

    def unenrolled(self, person_ids: Sequence[str], models: Sequence[str]) -> list[str]:
        """Those people of whom nothing is stored, or who lack templates of a model."""

    def verify(
        self,
        person_id: str,
        measure: Measure,
        needed: tuple[int, int],
        probes: Sequence[Probe],
        augmented: Sequence[CropFile] = (),
    ) -> ClaimDecision:
        """1:1. `needed`: matching pairs that verify, of probes as photographed and of augmented ones."""

    def generation(self, models: Sequence[str]) -> str:
        """See IdentifiedPeople."""

    def identify(
        self, measure: Measure, probes: Sequence[tuple[FaceTemplate, ...]], top_k: int = 0
    ) -> IdentifiedPeople:
        """1:N. `top_k`: so many people of each probe, in the order of the probes; 0: one match a person, best first."""

    def compare(
        self,
        measure: Measure,
        probes: Sequence[tuple[FaceTemplate, ...]],
        others: Sequence[tuple[FaceTemplate, ...]],
    ) -> list[FacePair]:
        """Every pair of a probe and another face."""

    def similar(self, measure: Measure, person_ids: Sequence[str]) -> list[tuple[str, PersonMatch]]:
        """Of these people (at most 100), in their order, the others whom their photos match, best first, a few each."""

    def rebuild_index(self, models: Sequence[str]) -> list[str]:
        """Builds the search indexes now; returns the models that have one."""

    def templates_of(self, models: Sequence[str], person_ids: Sequence[str]) -> PhotoTemplates:
        """What is stored of people (at most 1000) by these models."""

    def drop_others(self, models: Sequence[str]) -> None:
        """Deletes all templates of models of other names. Idempotent."""

    def describe(self, measure: Measure) -> list[RecogniserFacts]:
        """What the models are, in their order."""


@dataclass(frozen=True)
class Stages:
    """All three."""

    detector: DetectorStage
    liveness: LivenessStage
    embedder: EmbedderStage
