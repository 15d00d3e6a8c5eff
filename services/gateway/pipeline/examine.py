"""Photos that came to be enrolled: which of them do, and what is wrong with the others."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum

from services.common.errors import InvalidImage
from services.gateway.errors import NoPhotos, TooManyPhotos
from services.gateway.pipeline.draft import Drafter, Shot
from services.gateway.pipeline.parallel import Budget, map_parallel
from services.gateway.pipeline.upload import MAX_PHOTO_BYTES, MAX_PHOTOS, SCORED_AT_ONCE, NamedPhoto
from services.gateway.stages.types import DetectorStage, FoundFace, PhotoQuality
from services.gateway.storage.profiles import PhotoFacts, Source
from services.gateway.storage.types import Workspace


class Usability(Enum):
    """Whether a photo does, or why it does not; the value says so in words."""

    ENROLLED = "it was enrolled"
    LOW_QUALITY = "its quality score is below SCORE_TOL"
    UNDECODABLE = "it is no picture in a format that is read, or too large"
    NO_FACE = "it shows no face"
    SEVERAL_FACES = "it shows more than one face"


@dataclass(frozen=True)
class PhotoReport:
    """What became of a photo; `facts` unless it was refused, `quality` unless it is undecodable."""

    name: str
    outcome: Usability
    facts: PhotoFacts | None = None
    quality: PhotoQuality | None = None


@dataclass(frozen=True)
class Finding:
    """A photo that was examined; `face` is its only one where the photo does."""

    name: str
    outcome: Usability
    quality: PhotoQuality | None = None
    face: FoundFace | None = None

    @property
    def report(self) -> PhotoReport:
        """For one that does not do."""
        return PhotoReport(self.name, self.outcome, None, self.quality)

    @property
    def why(self) -> str:
        """In words."""
        score = f" ({self.quality.score:.1f})" if self.quality and self.outcome is Usability.LOW_QUALITY else ""
        return self.outcome.value + score


class Examiner:
    """Scores photos and finds faces in them, side by side."""

    def __init__(self, detector: DetectorStage, drafter: Drafter, executor: Executor):
        self._detector = detector
        self._drafter = drafter
        self._executor = executor
        self._budget = Budget(SCORED_AT_ONCE)

    def examine(self, workspace: Workspace, photos: Sequence[NamedPhoto]) -> list[Finding]:
        """A finding of each photo, in their order.

        Raises:
            NoPhotos, TooManyPhotos.
        """
        if not photos:
            raise NoPhotos("photos: at least one is wanted")
        if len(photos) > MAX_PHOTOS:
            raise TooManyPhotos(f"photos: at most {MAX_PHOTOS} are taken at once")
        return map_parallel(self._executor, lambda photo: self._examine(workspace, photo), photos)

    def _examine(self, workspace: Workspace, photo: NamedPhoto) -> Finding:
        quality = self._score(photo.data)
        if quality is None:
            return Finding(photo.name, Usability.UNDECODABLE)
        if quality.score < workspace.env.score_tol:
            return Finding(photo.name, Usability.LOW_QUALITY, quality)
        faces = self._drafter.faces(workspace, photo.data)
        if len(faces) != 1:
            return Finding(photo.name, Usability.SEVERAL_FACES if faces else Usability.NO_FACE, quality)
        return Finding(photo.name, Usability.ENROLLED, quality, faces[0])

    def _score(self, image: bytes) -> PhotoQuality | None:
        if not 0 < len(image) <= MAX_PHOTO_BYTES:
            return None
        try:
            with self._budget.hold(len(image)):
                return self._detector.score(image)
        except InvalidImage:
            return None


def shot_of(finding: Finding, source: Source, when: int, request_id: str) -> list[Shot]:
    """What is to be enrolled of a photo: nothing of one that does not do."""
    if finding.face is None:
        return []
    return [Shot(finding.face, PhotoFacts("", source, when, finding.quality, request_id))]


def enrolled(name: str, facts: PhotoFacts) -> PhotoReport:
    """The report on a photo that was enrolled."""
    return PhotoReport(name, Usability.ENROLLED, facts, facts.quality)
