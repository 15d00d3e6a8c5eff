"""Why the pipeline refuses. Each class has a canonical status and a reason; api/codes.py has the reason's code."""

from collections.abc import Sequence

from services.common.errors import InvalidRequest, RecoError


class Refused(RecoError):
    """The request cannot be carried out as things are."""

    status = "FAILED_PRECONDITION"


class InvalidField(InvalidRequest):
    """A field of the request is missing or does not fit."""

    reason = "FIELD_INVALID"

    def __init__(self, field: str, why: str, reason: str = ""):
        """
        Args:
            field: its path as the proto names it (`person.labels`).
            why: what would fit.
            reason: ErrorInfo's, where a client may want to tell it from others.
        """
        super().__init__(f"{field}: {why}")
        self.field = field
        self.reason = reason or self.reason


class InvalidPersonId(InvalidRequest):
    """The ID does not match ID_REGEX as a whole, or cannot be a folder's name."""

    reason = "PERSON_ID_INVALID"
    field = "person_id"


class InvalidName(InvalidRequest):
    """The name holds no word, or is too long."""

    reason = "NAME_INVALID"
    field = "name"


class NothingToDo(InvalidRequest):
    """Both verification and search are to be skipped."""

    reason = "NOTHING_TO_DO"


class NoPhotos(InvalidRequest):
    """The upload holds no file."""

    reason = "NO_PHOTOS"
    field = "photos"


class TooManyPhotos(InvalidRequest):
    """The upload holds more files than the limit."""

    reason = "TOO_MANY_PHOTOS"
    field = "photos"


class UploadUnknown(Refused):
    """There is no such upload, or it has been enrolled already."""

    status = "NOT_FOUND"
    reason = "UPLOAD_UNKNOWN"


class PhotoMissing(Refused):
    """A photo of the upload is gone from its folder."""

    status = "DATA_LOSS"
    reason = "PHOTO_MISSING"


class UploadEmpty(Refused):
    """The upload's folder is empty."""

    reason = "UPLOAD_EMPTY"


class NoFace(Refused):
    """No photo shows a face."""

    reason = "NO_FACE"


class NoSingleFace(Refused):
    """No photo shows exactly one face."""

    reason = "NO_SINGLE_FACE"


class LivenessUnavailable(Refused):
    """The liveness model cannot be loaded."""

    reason = "LIVENESS_MODEL_UNAVAILABLE"


class NotEnrolled(Refused):
    """The ID has no row."""

    status = "NOT_FOUND"
    reason = "NOT_ENROLLED"


class PersonExists(Refused):
    """Somebody is enrolled under that ID already."""

    status = "ALREADY_EXISTS"
    reason = "PERSON_EXISTS"


class SimilarPeople(Refused):
    """Somebody who is to be enrolled matches people who are, and the request says that it must not be."""

    status = "ALREADY_EXISTS"
    reason = "SIMILAR_PEOPLE"

    def __init__(self, person_ids: Sequence[str]):
        super().__init__(f"the photos match {', '.join(map(repr, person_ids))}")


class FileUnknown(Refused):
    """The console has no such file."""

    status = "NOT_FOUND"
    reason = "FILE_UNKNOWN"


class PhotoUnknown(Refused):
    """The person has no such photo."""

    status = "NOT_FOUND"
    reason = "PHOTO_UNKNOWN"


class OperationUnknown(Refused):
    """There is no such operation."""

    status = "NOT_FOUND"
    reason = "OPERATION_UNKNOWN"


class OperationNeeded(Refused):
    """The operation cannot be cancelled: the settings ask for it."""

    reason = "OPERATION_NEEDED"


class LastPhoto(Refused):
    """It is the person's last photo, and nobody said that they are to go with it."""

    reason = "LAST_PHOTO"


class NoUsablePhoto(InvalidRequest):
    """None of the photos shows one face well enough."""

    reason = "NO_USABLE_PHOTO"

    def __init__(self, reasons: Sequence[str]):
        """`reasons`: why not, of each photo."""
        super().__init__("no photo shows exactly one face well enough")
        self._reasons = tuple(reasons)

    @property
    def violations(self) -> tuple[tuple[str, str], ...]:
        return tuple((f"photos[{number}]", why) for number, why in enumerate(self._reasons))


class PersonFolderMissing(Refused):
    """The folder that the person's row names is gone."""

    status = "DATA_LOSS"
    reason = "PERSON_FOLDER_MISSING"


class RecordRefused(Refused):
    """The row or the photos could not be written; nothing of the enrollment is left behind."""

    reason = "RECORD_REFUSED"


class StorageRefused(RecoError):
    """A folder cannot be written to: the disk is full, or its rights are wrong. Nothing is left half-written."""

    status = "UNAVAILABLE"
    reason = "STORAGE_REFUSED"


class StorageFull(StorageRefused):
    """Uploads fill what they may, or the disk is nearly full; once some were deleted there is room again."""

    reason = "STORAGE_FULL"


class ErasureIncomplete(RecoError):
    """The person is gone, but not all that was kept of them could be deleted; the message names what is left.

    It is tried again every few seconds, and whenever somebody asks for the person to be erased or enrolled.
    """

    status = "UNAVAILABLE"
    reason = "ERASURE_INCOMPLETE"


class Busy(RecoError):
    """Another enrollment of the same person takes too long; trying again is right."""

    status = "UNAVAILABLE"
    reason = "PERSON_BUSY"
