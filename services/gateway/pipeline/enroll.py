"""Enrollment: faces of an upload become photos, templates and a row, all at once or not at all.

Order: photos are staged → the row and a journal entry are committed in one transaction (the commit point) → photos are
published, templates attached, the upload consumed, the journal entry struck off. A process that dies before the commit
leaves nothing that anyone sees; one that dies after it is finished for by galleries.py.
"""

import logging
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum

from services.common.errors import DatabaseRefused, InvalidImage, RecoError
from services.gateway.errors import NoSingleFace, NotEnrolled, RecordRefused
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.pipeline.people import check_person_id, normalise_name
from services.gateway.pipeline.reconcile import Galleries
from services.gateway.stages.types import Crop, Detector, Embedder, PreparedFace, Template
from services.gateway.storage.locks import person_lock, stripe_of
from services.gateway.storage.photos import FacePhoto
from services.gateway.storage.records import Enrollment, PersonRecord
from services.gateway.storage.uploads import Upload, read_photo, split_upload_id
from services.gateway.storage.workspace import Workspace

log = logging.getLogger("reco")


class EnrollmentKind(Enum):
    """What an enrollment did to the person's earlier photos."""

    CREATED = 1
    ADDED = 2
    REPLACED = 3


@dataclass(frozen=True)
class Enrolled:
    """The outcome of an enrollment; `photos` and `augmented` are file names."""

    kind: EnrollmentKind
    record: PersonRecord
    photos: tuple[str, ...]
    augmented: tuple[str, ...]


@dataclass(frozen=True)
class _Draft:
    """An enrollment before its commit."""

    enrollment_id: str
    upload: Upload
    name: str
    photos: tuple[FacePhoto, ...]
    templates: dict[str, tuple[Template, ...]]


class Enrollments:
    """Enrolls and erases people."""

    def __init__(self, detector: Detector, embedder: Embedder, galleries: Galleries, executor: Executor):
        self._detector = detector
        self._embedder = embedder
        self._galleries = galleries
        self._executor = executor

    def enroll(self, workspace: Workspace, upload_id: str, name: str, in_place: bool) -> Enrolled:
        """Enrolls the faces of an upload; `in_place` replaces the person's earlier photos rather than adds to them.

        Raises:
            InvalidPersonId, InvalidName, UploadUnknown, DatabaseUnavailable, PhotoMissing, UploadEmpty, NoSingleFace,
            RecordRefused: nothing is left behind, the upload can be tried again.
        """
        person_id = check_person_id(split_upload_id(upload_id)[0], workspace.env.id_regex)
        stored_name = normalise_name(name)
        upload = self._open(workspace, upload_id)
        draft = self._draft(workspace, upload, stored_name)
        with person_lock(workspace.env.db_path, person_id):
            return self._commit(workspace, draft, in_place)

    def delete(self, workspace: Workspace, person_id: str) -> None:
        """Erases a person: uploads, templates, photos, row.

        Raises:
            NotEnrolled: there is no such person; whatever is left of one is erased all the same.
        """
        check_person_id(person_id, workspace.env.id_regex)
        with person_lock(workspace.env.db_path, person_id):
            self._galleries.recover_locked(workspace, person_id)
            workspace.uploads.erase(person_id)
            self._embedder.remove(person_id)
            record = workspace.records.find(person_id)
            if record is None:
                raise NotEnrolled(f"{person_id!r} is not enrolled")
            folder = workspace.images.folder_of(record.path)
            workspace.images.remove(folder, workspace.images.names(folder))
            workspace.records.delete(record)

    def _open(self, workspace: Workspace, upload_id: str) -> Upload:
        """The contract's order: an unknown upload, then an unreachable database, then missing photos."""
        try:
            upload = workspace.uploads.open(upload_id)
        except RecoError as err:
            if err.reason != "UPLOAD_UNKNOWN":
                _find(workspace, split_upload_id(upload_id)[0])
            raise
        _find(workspace, upload.person_id)
        return upload

    def _draft(self, workspace: Workspace, upload: Upload, name: str) -> _Draft:
        enrollment_id = f"{stripe_of(upload.person_id):03d}-{uuid.uuid4().hex}"
        prepared = map_parallel(
            self._executor, lambda path: self._single_face(workspace, read_photo(path)), upload.photos
        )
        faces = [face for face in prepared if face is not None]
        if not faces:
            raise NoSingleFace("no photo shows exactly one face")
        photos = _face_photos(enrollment_id, faces)
        crops = [Crop(photo.png, photo.landmarks) for photo in photos]
        templates = self._embedder.embed(workspace.env.selected_models, crops)
        by_name = {photo.name: template for photo, template in zip(photos, templates, strict=True)}
        return _Draft(enrollment_id, upload, name, photos, by_name)

    def _single_face(self, workspace: Workspace, image: bytes) -> PreparedFace | None:
        try:
            faces = self._detector.prepare(image, workspace.crop_size, workspace.env.num_aug)
        except InvalidImage:
            return None
        return faces[0] if len(faces) == 1 else None

    def _commit(self, workspace: Workspace, draft: _Draft, in_place: bool) -> Enrolled:
        person_id = draft.upload.person_id
        self._galleries.recover_locked(workspace, person_id)
        workspace.uploads.open(draft.upload.upload_id)  # another request may have enrolled it meanwhile
        earlier = _find(workspace, person_id)
        kind = _kind(earlier, in_place)
        if kind is EnrollmentKind.ADDED:
            self._galleries.adopt(workspace, earlier)
        enrollment, record = _plan(workspace, draft, earlier, kind)
        record = self._write(workspace, draft, record, enrollment)
        self._finish(workspace, enrollment, draft)
        names = [photo.name for photo in draft.photos if not photo.augmented]
        augmented = [photo.name for photo in draft.photos if photo.augmented]
        return Enrolled(kind, record, tuple(names), tuple(augmented))

    def _write(self, workspace: Workspace, draft: _Draft, record: PersonRecord, enrollment: Enrollment) -> PersonRecord:
        try:
            workspace.images.stage(draft.enrollment_id, draft.photos)
            return workspace.records.commit(record, enrollment)
        except (DatabaseRefused, OSError) as err:
            workspace.images.unstage(draft.enrollment_id)
            raise RecordRefused(f"the enrollment could not be written: {err}") from err

    def _finish(self, workspace: Workspace, enrollment: Enrollment, draft: _Draft) -> None:
        """The person is enrolled already; what fails here is done by the next request that looks at the person."""
        try:
            self._galleries.finish(workspace, enrollment, draft.templates)
        except (RecoError, OSError) as err:
            log.error("enrollment %s is committed but not finished yet: %s", enrollment.enrollment_id, err)


def _find(workspace: Workspace, person_id: str) -> PersonRecord | None:
    """The person's row; a table that refuses to be read will refuse the insert too."""
    try:
        return workspace.records.find(person_id)
    except DatabaseRefused as err:
        raise RecordRefused(str(err)) from err


def _kind(earlier: PersonRecord | None, in_place: bool) -> EnrollmentKind:
    if earlier is None:
        return EnrollmentKind.CREATED
    return EnrollmentKind.REPLACED if in_place else EnrollmentKind.ADDED


def _plan(
    workspace: Workspace, draft: _Draft, earlier: PersonRecord | None, kind: EnrollmentKind
) -> tuple[Enrollment, PersonRecord]:
    """What the journal says, and the row. Adding keeps the person's name and folder."""
    person_id, upload_id = draft.upload.person_id, draft.upload.upload_id
    folder = f"{draft.name}-{person_id}"
    path = str(workspace.images.path_of(folder))
    if earlier is None:
        row = PersonRecord(0, person_id, draft.name, path)
        stale = tuple(workspace.images.names(folder))  # of a person whose row was deleted by hand
        return Enrollment(draft.enrollment_id, person_id, upload_id, folder, (), folder, stale), row
    old_folder = workspace.images.folder_of(earlier.path)
    old_names = tuple(workspace.images.names(old_folder))
    if kind is EnrollmentKind.ADDED:
        return Enrollment(draft.enrollment_id, person_id, upload_id, old_folder, old_names), earlier
    row = PersonRecord(earlier.record_id, person_id, draft.name, path)
    return Enrollment(draft.enrollment_id, person_id, upload_id, folder, (), old_folder, old_names), row


def _face_photos(enrollment_id: str, faces: Sequence[PreparedFace]) -> tuple[FacePhoto, ...]:
    unique = enrollment_id.rpartition("-")[2][:12]
    photos = []
    for number, face in enumerate(faces, 1):
        name = f"{unique}-{number:03d}"
        photos.append(FacePhoto(f"{name}.png", False, face.crop.image, face.crop.landmarks))
        photos += [
            FacePhoto(f"{name}-aug{index:02d}.png", True, crop.image, crop.landmarks)
            for index, crop in enumerate(face.augmented, 1)
        ]
    return tuple(photos)
