"""Enrollment: faces of an upload become photos, templates and a row, all at once or not at all.

Order: photos are staged → the row and a journal entry are committed in one transaction (the commit point) → photos are
published, templates stored, the upload consumed, the journal entry deleted. A process that dies before the commit leaves
nothing that anyone sees; what one that dies after it has left undone, reconcile.py does.
"""

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from enum import Enum

from services.common.errors import DatabaseRefused, InvalidImage, RecoError
from services.gateway.errors import NoSingleFace, NotEnrolled, RecordRefused, UploadUnknown
from services.gateway.pipeline.erase import plan_erasure
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.pipeline.people import check_person_id, normalise_name
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import CropFile, DetectorStage, EmbedderStage, FaceTemplate, FoundFace
from services.gateway.storage.types import (
    FacePhoto,
    JournalEntry,
    PersonRecord,
    Upload,
    Workspace,
    split_upload_id,
    stripe_of,
)

log = logging.getLogger("reco")


class EnrollmentOutcome(Enum):
    """What an enrollment did to the person's earlier photos."""

    CREATED = 1
    ADDED = 2
    REPLACED = 3


@dataclass(frozen=True)
class EnrollmentResult:
    """An enrollment that was committed; `photos` and `augmented` are file names."""

    outcome: EnrollmentOutcome
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
    templates: Mapping[str, tuple[FaceTemplate, ...]]


class Enroller:
    """Enrolls and erases people."""

    def __init__(
        self,
        detector: DetectorStage,
        embedder: EmbedderStage,
        reconciler: Reconciler,
        executor: Executor,
        uses: LastUses,
    ):
        self._uses = uses
        self._detector = detector
        self._embedder = embedder
        self._reconciler = reconciler
        self._executor = executor

    def enroll(self, workspace: Workspace, upload_id: str, name: str, in_place: bool) -> EnrollmentResult:
        """Enrolls the faces of an upload; `in_place` replaces the person's earlier photos rather than adds to them.

        Raises:
            InvalidPersonId, InvalidName, UploadUnknown, DatabaseUnavailable, PhotoMissing, UploadEmpty, NoSingleFace,
            RecordRefused: nothing is left behind, the upload can be tried again.
        """
        person_id = check_person_id(split_upload_id(upload_id)[0], workspace.env.id_regex)
        stored_name = normalise_name(name)
        upload = self._open(workspace, upload_id)
        draft = self._draft(workspace, upload, stored_name)
        with workspace.lock(person_id):
            return self._commit(workspace, draft, in_place)

    def delete(self, workspace: Workspace, person_id: str) -> None:
        """Erases a person: row, templates, photos, uploads.

        Raises:
            NotEnrolled: there is no such person; whatever is left of one is erased all the same.
            ErasureIncomplete: the person is gone, and something that was kept of them cannot be deleted yet.
        """
        check_person_id(person_id, workspace.env.id_regex)
        with workspace.lock(person_id):
            was_there = self._delete_locked(workspace, person_id)
        if not was_there:
            raise NotEnrolled(f"{person_id!r} is not enrolled")

    def delete_unused(self, workspace: Workspace, person_id: str, day: int) -> bool:
        """Erases a person who was last used before that day (since 1970); False where that is not so, or no more.

        Raises:
            ErasureIncomplete: see `delete`.
        """
        with workspace.lock(person_id):
            last_use = workspace.records.last_uses([person_id]).get(person_id, day)
            return last_use < day and self._delete_locked(workspace, person_id)

    def _delete_locked(self, workspace: Workspace, person_id: str) -> bool:
        """Whether there was anybody, or an enrollment that would have made somebody."""
        entries = workspace.records.journal(person_id)
        record = workspace.records.find(person_id)
        entry = plan_erasure(workspace, person_id, record, entries)
        workspace.records.erase(record, entry)
        self._reconciler.finish_locked(workspace, replace(entry, committed_at=math.inf), {})
        return record is not None or bool(entries)

    @staticmethod
    def _open(workspace: Workspace, upload_id: str) -> Upload:
        """The contract's order: an unknown upload, then an unreachable database, then missing photos."""
        person_id, _ = split_upload_id(upload_id)
        try:
            upload = workspace.uploads.open(upload_id)
        except UploadUnknown:
            raise
        except RecoError:
            _find(workspace, person_id)
            raise
        _find(workspace, person_id)
        return upload

    def _draft(self, workspace: Workspace, upload: Upload, name: str) -> _Draft:
        enrollment_id = f"{stripe_of(upload.person_id):03d}-{uuid.uuid4().hex}"
        found = map_parallel(self._executor, lambda photo: self._single_face(workspace, upload, photo), upload.photos)
        faces = [face for face in found if face is not None]
        if not faces:
            raise NoSingleFace("no photo shows exactly one face")
        photos = _face_photos(enrollment_id, faces)
        crops = [crop for face in faces for crop in (face.crop, *face.augmented)]
        templates = self._embedder.embed(workspace.env.selected_models, crops)
        by_name = {photo.name: template for photo, template in zip(photos, templates, strict=True)}
        return _Draft(enrollment_id, upload, name, photos, by_name)

    def _single_face(self, workspace: Workspace, upload: Upload, photo: str) -> FoundFace | None:
        image = workspace.uploads.read(upload, photo)
        try:
            faces = self._detector.prepare(image, workspace.crop_size, workspace.env.num_aug)
        except InvalidImage:
            return None
        return faces[0] if len(faces) == 1 else None

    def _commit(self, workspace: Workspace, draft: _Draft, in_place: bool) -> EnrollmentResult:
        person_id = draft.upload.person_id
        self._reconciler.finish_locked_person(workspace, person_id)
        workspace.uploads.open(draft.upload.upload_id)  # another request may have enrolled it meanwhile
        earlier = _find(workspace, person_id)
        if earlier and not in_place:
            self._reconciler.embed_missing_locked(workspace, earlier)
        entry, row = _plan(workspace, draft, earlier, in_place)
        record = self._write(workspace, draft, row, entry)
        self._finish(workspace, entry, draft)
        names = tuple(photo.name for photo in draft.photos if not photo.augmented)
        augmented = tuple(photo.name for photo in draft.photos if photo.augmented)
        return EnrollmentResult(_outcome(earlier, in_place), record, names, augmented)

    def _write(self, workspace: Workspace, draft: _Draft, row: PersonRecord, entry: JournalEntry) -> PersonRecord:
        try:
            self._uses.enrolled(workspace, row.person_id)
            workspace.photos.stage(draft.enrollment_id, entry.folder, draft.photos)
            return workspace.records.commit(row, entry)
        except (DatabaseRefused, OSError) as err:
            workspace.photos.unstage(draft.enrollment_id)
            raise RecordRefused(f"the enrollment could not be written: {err}") from err

    def _finish(self, workspace: Workspace, entry: JournalEntry, draft: _Draft) -> None:
        """The person is enrolled already; what fails here is done by whoever next reads the journal."""
        try:
            self._reconciler.finish_locked(workspace, entry, draft.templates)
        except (RecoError, OSError) as err:
            log.error("enrollment %s is committed but not finished yet: %s", entry.enrollment_id, err)


def _find(workspace: Workspace, person_id: str) -> PersonRecord | None:
    """The person's row; a table that refuses to be read will refuse the insert too."""
    try:
        return workspace.records.find(person_id)
    except DatabaseRefused as err:
        raise RecordRefused(str(err)) from err


def _outcome(earlier: PersonRecord | None, in_place: bool) -> EnrollmentOutcome:
    if earlier is None:
        return EnrollmentOutcome.CREATED
    return EnrollmentOutcome.REPLACED if in_place else EnrollmentOutcome.ADDED


def _plan(
    workspace: Workspace, draft: _Draft, earlier: PersonRecord | None, in_place: bool
) -> tuple[JournalEntry, PersonRecord]:
    """The journal entry, and the row. Adding keeps the person's name and folder."""
    person_id, upload_id = draft.upload.person_id, draft.upload.upload_id
    if earlier and not in_place:
        keep = tuple(workspace.photos.names(earlier.folder))
        return JournalEntry(draft.enrollment_id, person_id, upload_id, earlier.folder, keep), earlier
    folder = f"{draft.name}-{person_id}"
    drop_folder = earlier.folder if earlier else folder  # which may hold photos of a row that was deleted by hand
    drop = tuple(workspace.photos.names(drop_folder))
    row = PersonRecord(earlier.record_id if earlier else 0, person_id, draft.name, workspace.photos.path_of(folder))
    return JournalEntry(draft.enrollment_id, person_id, upload_id, folder, (), drop_folder, drop), row


def _face_photos(enrollment_id: str, faces: Sequence[FoundFace]) -> tuple[FacePhoto, ...]:
    """Each face's photo and then its augmented ones, under names that no other enrollment uses."""
    unique = enrollment_id.rpartition("-")[2][:12]
    photos = []
    for number, face in enumerate(faces, 1):
        name = f"{unique}-{number:03d}"
        photos.append(_face_photo(f"{name}.png", face.crop, augmented=False))
        photos += [
            _face_photo(f"{name}-aug{index:02d}.png", crop, augmented=True)
            for index, crop in enumerate(face.augmented, 1)
        ]
    return tuple(photos)


def _face_photo(name: str, crop: CropFile, augmented: bool) -> FacePhoto:
    return FacePhoto(name, augmented, crop.image, crop.landmarks)
