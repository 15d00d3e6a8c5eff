"""Upload: scores photos, and keeps the good ones for enrollment or verification."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from itertools import compress

from services.common.errors import InvalidImage
from services.gateway.errors import NoPhotos, TooManyPhotos
from services.gateway.pipeline.parallel import Budget, map_parallel
from services.gateway.pipeline.people import check_person_id
from services.gateway.stages.types import DetectorStage, PhotoQuality
from services.gateway.storage.types import Upload, WaitingUpload, Workspace
from services.images.file_type import begins_with

#: Photos in one upload, and bytes of one: more are not taken for a photo.
MAX_PHOTOS = 200
MAX_PHOTO_BYTES = 48 * 1024 * 1024

#: Bytes of photos that are with the detector at a time: each is in memory twice more.
SCORED_AT_ONCE = 32 * 1024 * 1024

#: How a file begins (`?` stands for any byte) → the extension it is stored with.
EXTENSIONS = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
    b"GIF8": ".gif",
    b"????ftypavi": ".avif",
    b"????ftyp": ".heic",
}


@dataclass(frozen=True)
class NamedPhoto:
    """A file as it was sent; `name` is unique within the request and only shown back."""

    name: str
    data: bytes


class PhotoOutcome(Enum):
    """What became of an uploaded photo."""

    SAVED = 1
    REJECTED = 2
    UNDECODABLE = 3


@dataclass(frozen=True)
class PhotoResult:
    """`quality` is None where the photo is undecodable, `saved_as` empty unless it was saved."""

    name: str
    outcome: PhotoOutcome
    quality: PhotoQuality | None
    saved_as: str = ""


@dataclass(frozen=True)
class UploadResult:
    """`upload` is None where no photo was kept."""

    upload: Upload | None
    photos: tuple[PhotoResult, ...]


@dataclass(frozen=True)
class WaitingPage:
    """Uploads that wait, and the ID behind which the next page begins; empty on the last."""

    uploads: tuple[WaitingUpload, ...]
    after: str


class Uploader:
    """Scores and stores photos."""

    def __init__(self, detector: DetectorStage, executor: Executor):
        self._detector = detector
        self._executor = executor
        self._budget = Budget(SCORED_AT_ONCE)

    @staticmethod
    def waiting(workspace: Workspace, after: str, limit: int) -> WaitingPage:
        """Uploads that were not enrolled yet, in the order of their IDs behind one of them."""
        found = workspace.uploads.list_waiting(after, limit + 1)
        return WaitingPage(tuple(found[:limit]), found[limit - 1].upload_id if len(found) > limit else "")

    @staticmethod
    def discard(workspace: Workspace, upload_id: str) -> bool:
        """Deletes one of them; False where there is none."""
        return workspace.uploads.discard(upload_id)

    def upload(self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto]) -> UploadResult:
        """Scores photos and stores those of at least SCORE_TOL.

        Raises:
            InvalidPersonId, NoPhotos, TooManyPhotos, StorageRefused.
        """
        check_person_id(person_id, workspace.env.id_regex)
        if not photos:
            raise NoPhotos("no file was uploaded")
        if len(photos) > MAX_PHOTOS:
            raise TooManyPhotos(f"at most {MAX_PHOTOS} photos can be uploaded at once")
        scored = map_parallel(self._executor, self._score, photos)
        results = [
            _judge(photo.name, quality, workspace.env.score_tol) for photo, quality in zip(photos, scored, strict=True)
        ]
        saved = [result.outcome is PhotoOutcome.SAVED for result in results]
        good = [(_extension(photo.data), photo.data) for photo in compress(photos, saved)]
        if not good:
            return UploadResult(None, tuple(results))
        qualities = [quality for quality in compress(scored, saved) if quality]
        upload = workspace.uploads.create(person_id, good, qualities)
        return UploadResult(upload, _with_stored_names(results, upload))

    def _score(self, photo: NamedPhoto) -> PhotoQuality | None:
        if len(photo.data) > MAX_PHOTO_BYTES:
            return None
        try:
            with self._budget.hold(len(photo.data)):
                return self._detector.score(photo.data)
        except InvalidImage:
            return None


def _judge(name: str, quality: PhotoQuality | None, lowest: float) -> PhotoResult:
    if quality is None:
        return PhotoResult(name, PhotoOutcome.UNDECODABLE, None)
    outcome = PhotoOutcome.SAVED if quality.score >= lowest else PhotoOutcome.REJECTED
    return PhotoResult(name, outcome, quality)


def _with_stored_names(results: Sequence[PhotoResult], upload: Upload) -> tuple[PhotoResult, ...]:
    stored = iter(upload.photos)
    return tuple(
        PhotoResult(result.name, result.outcome, result.quality, next(stored))
        if result.outcome is PhotoOutcome.SAVED
        else result
        for result in results
    )


def _extension(data: bytes) -> str:
    return next((extension for begin, extension in EXTENSIONS.items() if begins_with(data, begin)), ".img")
