"""What is answered: the messages of docs/api.md, under their names there. Enums are text, as the API writes them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


class Page(Protocol):
    """A page of a list; `next_page_token` is empty on the last."""

    @property
    def next_page_token(self) -> str: ...


@dataclass(frozen=True)
class Person:
    """Somebody who is enrolled; times that nobody wrote down are None."""

    person_id: str = ""
    display_name: str = ""
    external_id: str = ""
    labels: tuple[str, ...] = ()
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True)
class PeoplePage:
    """Some of the people; `next_page_token` is empty on the last page."""

    people: tuple[Person, ...] = ()
    next_page_token: str = ""


@dataclass(frozen=True)
class Components:
    """Of a quality, each 0 to 1; 1 is flawless."""

    sharpness: float = 0.0
    noise: float = 0.0
    exposure: float = 0.0
    compression: float = 0.0
    resolution: float = 0.0


@dataclass(frozen=True)
class Quality:
    """How good a photo is for recognition: `score` from 0 to 10, higher is better."""

    score: float = 0.0
    components: Components | None = None


@dataclass(frozen=True)
class Photo:
    """A face that a person is known by; `source` is SOURCE_UPLOAD, SOURCE_PEOPLE or SOURCE_UNSPECIFIED."""

    photo_id: str = ""
    quality: Quality | None = None
    source: str = ""
    create_time: datetime | None = None


@dataclass(frozen=True)
class Photos:
    """All photos of a person."""

    photos: tuple[Photo, ...] = ()


@dataclass(frozen=True)
class PhotoReport:
    """What became of a photo that was sent.

    `outcome` is OUTCOME_ENROLLED or says why it was left out; where a request was refused because none of its photos
    does, `problem` says why in words instead.
    """

    name: str = ""
    outcome: str = ""
    photo: Photo | None = None
    quality: Quality | None = None
    problem: str = ""

    @property
    def enrolled(self) -> bool:
        """Whether the photo is one of the person's now."""
        return self.outcome == "OUTCOME_ENROLLED"


@dataclass(frozen=True)
class SimilarPerson:
    """Somebody who is enrolled under another ID and matches."""

    person: Person
    distance: float = 0.0
    threshold: float = 0.0


@dataclass(frozen=True)
class Created:
    """Somebody who was enrolled; of a request that was repeated `photos` are those that were enrolled."""

    person: Person
    photos: tuple[PhotoReport, ...] = ()
    similar_people: tuple[SimilarPerson, ...] = ()


@dataclass(frozen=True)
class Added:
    """What became of photos that were added."""

    photos: tuple[PhotoReport, ...] = ()


@dataclass(frozen=True)
class PersonErased:
    """Whether there was anybody to erase."""

    existed: bool = False


@dataclass(frozen=True)
class PhotoDeleted:
    """Whether the person went with their last photo."""

    person_deleted: bool = False


@dataclass(frozen=True)
class ConflictingPeople:
    """Two people whose photos match; `person` was enrolled after `other`. `similarity` is 0 to 100."""

    person: Person
    other: Person
    distance: float = 0.0
    threshold: float = 0.0
    similarity: float = 0.0
    fmr: float = 0.0
    model: str = ""


@dataclass(frozen=True)
class ConflictPage:
    """Some of the pairs, maybe none; `next_page_token` is empty on the last page."""

    conflicts: tuple[ConflictingPeople, ...] = ()
    next_page_token: str = ""


@dataclass(frozen=True)
class WaitingUpload:
    """An upload that waits to be enrolled or verified."""

    upload_id: str = ""
    person_id: str = ""
    photos: int = 0
    create_time: datetime | None = None


@dataclass(frozen=True)
class UploadPage:
    """Some of them; `next_page_token` is empty on the last page."""

    uploads: tuple[WaitingUpload, ...] = ()
    next_page_token: str = ""


@dataclass(frozen=True)
class UploadDeleted:
    """Whether there was one."""

    existed: bool = False


@dataclass(frozen=True)
class ExportPage:
    """Some of the people with all that is kept of them, as JSON; `next_page_token` is empty on the last page."""

    people: tuple[dict[str, Any], ...] = ()
    next_page_token: str = ""


@dataclass(frozen=True)
class ImportedPerson:
    """What became of somebody who was imported: OUTCOME_IMPORTED, _ADDED (photos), _UNCHANGED or _REFUSED, and why."""

    person_id: str = ""
    outcome: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ImportReport:
    """Of each, in the order in which they were sent."""

    people: tuple[ImportedPerson, ...] = ()


@dataclass(frozen=True)
class Operation:
    """Long work: KIND_REEMBED or KIND_REBUILD; STATE_RUNNING, _SUCCEEDED or _CANCELLED; `problem`: what hinders it now."""

    operation_id: str = ""
    kind: str = ""
    state: str = ""
    models: tuple[str, ...] = ()
    total_people: int = 0
    done_people: int = 0
    problem: str = ""
    started_by: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True)
class Operations:
    """The latest first."""

    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class Key:
    """A client's key: STATE_VALID, _EXPIRED or _REVOKED; its role is verify, enroll or admin."""

    name: str = ""
    role: str = ""
    state: str = ""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None


@dataclass(frozen=True)
class Keys:
    """The oldest first."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class NewKey:
    """A key that was just made; `secret` is the key itself, which is shown this once."""

    key: Key = Key()
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to whom."""

    time: datetime | None = None
    key: str = ""
    action: str = ""
    person_id: str = ""
    outcome: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class AuditPage:
    """Some of them, the latest first; `next_page_token` is empty on the last page."""

    entries: tuple[AuditEntry, ...] = ()
    next_page_token: str = ""


@dataclass(frozen=True)
class Point:
    """In pixels of the upright picture, (0, 0) at the top left."""

    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Box:
    """In pixels of the upright picture; may reach beyond it."""

    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class Landmarks:
    """Left and right are the viewer's."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


@dataclass(frozen=True)
class FacePlace:
    """Where a face is; `confidence` is 0 to 1."""

    box: Box
    landmarks: Landmarks | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class Pose:
    """In degrees: to the right, down and clockwise are above 0."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True)
class FaceLiveness:
    """VERDICT_REAL, VERDICT_SPOOF or VERDICT_UNDECIDABLE; `score` is the probability of a living face, 0 to 1."""

    verdict: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class DetectedFace:
    """A face, and in words what makes its recognition uncertain; `liveness` is None unless it was asked for."""

    place: FacePlace
    pose: Pose | None = None
    complaints: tuple[str, ...] = ()
    liveness: FaceLiveness | None = None


@dataclass(frozen=True)
class Detected:
    """The faces of a picture, the largest first, and the picture's quality."""

    faces: tuple[DetectedFace, ...] = ()
    quality: Quality | None = None


@dataclass(frozen=True)
class Pair:
    """A face of one picture and one of the other, by their indices; distances up to `threshold` are one person's."""

    face: int = 0
    other_face: int = 0
    same_person: bool = False
    distance: float = 0.0
    threshold: float = 0.0
    similarity: float = 0.0
    fmr: float = 0.0
    model: str = ""


@dataclass(frozen=True)
class Compared:
    """All pairs of two pictures' faces, the most alike first."""

    faces: tuple[FacePlace, ...] = ()
    other_faces: tuple[FacePlace, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """Who a face may be; `similarity` is 0 to 100."""

    person: Person
    distance: float = 0.0
    threshold: float = 0.0
    similarity: float = 0.0
    model: str = ""


@dataclass(frozen=True)
class IdentifiedFace:
    """A face and the people within the threshold, best first; `unknown` where there are none."""

    place: FacePlace
    unknown: bool = False
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class AppliedThreshold:
    """The distance up to which a model's matches count, and the false match rate it stands for; 0: not measured."""

    model: str = ""
    threshold: float = 0.0
    fmr: float = 0.0


@dataclass(frozen=True)
class Identified:
    """The faces of a picture, the largest first."""

    faces: tuple[IdentifiedFace, ...] = ()
    thresholds: tuple[AppliedThreshold, ...] = ()


@dataclass(frozen=True)
class Verified:
    """Whether it is that person; `outcome` is OUTCOME_VERIFIED, OUTCOME_NOT_VERIFIED or OUTCOME_SPOOF."""

    verified: bool = False
    outcome: str = ""
    person: Person | None = None
    distance: float = 0.0
    threshold: float = 0.0
    similarity: float = 0.0
    fmr: float = 0.0
    liveness: tuple[FaceLiveness, ...] = ()


@dataclass(frozen=True)
class Model:
    """A recogniser in use."""

    name: str = ""
    version: str = ""
    threshold: float = 0.0
    threshold_source: str = ""
    dimension: int = 0
    fmr: float = 0.0


@dataclass(frozen=True)
class Settings:
    """Of the installation: `.env` as far as clients need it."""

    id_regex: str = ""
    min_score: float = 0.0
    augmentations: int = 0
    min_pairs: int = 0
    min_augmented_pairs: int = 0


@dataclass(frozen=True)
class Limits:
    """What a request may hold."""

    max_photos: int = 0
    max_photo_bytes: int = 0
    max_json_bytes: int = 0
    max_grpc_bytes: int = 0
    max_page_size: int = 0


@dataclass(frozen=True)
class Info:
    """What an installation is and takes."""

    version: str = ""
    models: tuple[Model, ...] = ()
    distance: str = ""
    settings: Settings = Settings()
    limits: Limits = Limits()
