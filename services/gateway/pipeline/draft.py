"""From faces to an enrollment that is committed, whichever way they came.

Order: photos are staged → the row, its details and a journal entry are committed in one transaction (the commit point) →
photos are published, templates stored, an upload consumed, the journal entry deleted.
"""

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from services.common.errors import DatabaseRefused, InvalidImage, RecoError
from services.gateway.errors import RecordRefused
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.reconcile import Addition, Reconciler, Templates
from services.gateway.stages.types import CropFile, DetectorStage, EmbedderStage, FoundFace
from services.gateway.storage.profiles import Details, PhotoFacts, Profile
from services.gateway.storage.types import (
    NO_UPLOAD,
    FacePhoto,
    JournalEntry,
    PersonRecord,
    Workspace,
    stripe_of,
)

log = logging.getLogger("reco")


@dataclass(frozen=True)
class Shot:
    """A face of a photo that is to be enrolled, and what is to be written down of the photo; its name is not known yet."""

    face: FoundFace
    facts: PhotoFacts


@dataclass(frozen=True)
class Draft:
    """An enrollment before its commit.

    Attributes:
        upload_id: see JournalEntry.
        photos: of each face its photo, and then the augmented ones.
        templates: of each photo by its name.
        facts: of each photo that is not augmented, in the order of the shots.
    """

    enrollment_id: str
    person_id: str
    upload_id: str
    photos: tuple[FacePhoto, ...]
    templates: Templates
    facts: tuple[PhotoFacts, ...]

    def adding_to(self, workspace: Workspace, earlier: PersonRecord) -> JournalEntry:
        """The journal entry of adding to a person, who keeps name and folder."""
        keep = tuple(workspace.photos.names(earlier.folder))
        return JournalEntry(self.enrollment_id, self.person_id, self.upload_id, earlier.folder, keep)

    def starting(
        self, workspace: Workspace, name: str, earlier: PersonRecord | None
    ) -> tuple[PersonRecord, JournalEntry]:
        """The row and the journal entry of a person who is new, or whose earlier photos are replaced."""
        folder = f"{name}-{self.person_id}"
        drop_folder = earlier.folder if earlier else folder  # which may hold photos of a row that was deleted by hand
        drop = tuple(workspace.photos.names(drop_folder))
        record_id, path = earlier.record_id if earlier else 0, workspace.photos.path_of(folder)
        entry = JournalEntry(self.enrollment_id, self.person_id, self.upload_id, folder, (), drop_folder, drop)
        return PersonRecord(record_id, self.person_id, name, path), entry


class Drafter:
    """Finds faces, makes drafts of them, and commits those."""

    def __init__(self, detector: DetectorStage, embedder: EmbedderStage, reconciler: Reconciler, uses: LastUses):
        """`uses`: is told who is enrolled."""
        self._uses = uses
        self._detector = detector
        self._embedder = embedder
        self._reconciler = reconciler

    def faces(self, workspace: Workspace, image: bytes) -> list[FoundFace]:
        """The faces of a photo, as they are to be stored; none where it is no picture."""
        try:
            return self._detector.prepare(image, workspace.crop_size, workspace.env.num_aug)
        except InvalidImage:
            return []

    def draft(self, workspace: Workspace, person_id: str, shots: Sequence[Shot], upload_id: str = NO_UPLOAD) -> Draft:
        """An enrollment of faces of a person, with their templates."""
        enrollment_id = new_enrollment_id(person_id)
        photos = _face_photos(enrollment_id, [shot.face for shot in shots])
        crops = [crop for shot in shots for crop in (shot.face.crop, *shot.face.augmented)]
        templates = self._embedder.embed(workspace.models.made, crops)
        by_name = {photo.name: template for photo, template in zip(photos, templates, strict=True)}
        names = [photo.name for photo in photos if not photo.augmented]
        facts = tuple(replace(shot.facts, name=name) for name, shot in zip(names, shots, strict=True))
        return Draft(enrollment_id, person_id, upload_id, photos, by_name, facts)

    def commit(
        self, workspace: Workspace, draft: Draft, row: PersonRecord, entry: JournalEntry, profile: Profile
    ) -> PersonRecord:
        """Enrolls a draft, for callers who hold the person's lock; returns the row as it is then.

        Raises:
            RecordRefused: nothing is left behind.
        """
        with self.staged(workspace, entry, draft.photos):
            record = workspace.records.commit(row, entry, Details(profile, draft.facts, digests_of(draft.photos)))
        self.finish(workspace, entry, draft.templates)
        return record

    @contextmanager
    def staged(self, workspace: Workspace, entry: JournalEntry, photos: Iterable[FacePhoto]) -> Iterator[None]:
        """With the photos where the commit that happens within will find them.

        Raises:
            RecordRefused: they or it could not be written; nothing is left behind.
        """
        try:
            self._uses.enrolled(workspace, entry.person_id)
            workspace.photos.stage(entry.enrollment_id, entry.folder, photos)
            yield
        except (DatabaseRefused, OSError) as err:
            workspace.photos.unstage(entry.enrollment_id)
            raise RecordRefused(f"the enrollment could not be written: {err}") from err

    def finish(self, workspace: Workspace, entry: JournalEntry, templates: Templates) -> None:
        """After the commit the person is enrolled; what fails here is done by whoever next reads the journal."""
        try:
            self._reconciler.finish_locked(workspace, entry, templates)
        except (RecoError, OSError) as err:
            log.error("enrollment %s is committed but not finished yet: %s", entry.enrollment_id, err)

    def finish_together(self, workspace: Workspace, added: Sequence[Addition]) -> None:
        """`finish` of several people; see Reconciler.finish_together_locked."""
        try:
            self._reconciler.finish_together_locked(workspace, added)
        except (RecoError, OSError) as err:
            log.error("%d enrollments are committed but not finished yet: %s", len(added), err)


def digests_of(photos: Iterable[FacePhoto]) -> dict[str, bytes]:
    """By the photos' names."""
    return {photo.name: photo.digest for photo in photos}


def find_record(workspace: Workspace, person_id: str) -> PersonRecord | None:
    """The person's row; a table that refuses to be read will refuse the insert too."""
    try:
        return workspace.records.find(person_id)
    except DatabaseRefused as err:
        raise RecordRefused(str(err)) from err


def new_enrollment_id(person_id: str) -> str:
    """See JournalEntry."""
    return f"{stripe_of(person_id):03d}-{uuid.uuid4().hex}"


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


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
