"""Enrollment of uploads, and erasure: faces of an upload become photos, templates and a row, all at once or not at all.

A process that dies before the commit (draft.py) leaves nothing that anyone sees; what one that dies after it has left
undone, reconcile.py does.
"""

import math
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from enum import Enum

from services.common.errors import RecoError
from services.gateway.errors import NoSingleFace, NotEnrolled, UploadUnknown
from services.gateway.pipeline.draft import Draft, Drafter, Shot, find_record, now
from services.gateway.pipeline.erase import plan_erasure
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.pipeline.people import capitalise, check_person_id, display_name, normalise_name
from services.gateway.pipeline.profile import current_profile, profile_of
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.storage.profiles import PhotoFacts, Profile, Source
from services.gateway.storage.types import PersonRecord, Upload, Workspace, split_upload_id


class EnrollmentOutcome(Enum):
    """What an enrollment did to the person's earlier photos."""

    CREATED = 1
    ADDED = 2
    REPLACED = 3


@dataclass(frozen=True)
class EnrollmentResult:
    """An enrollment that was committed.

    Attributes:
        photos: file names, as are those in `augmented`.
        kept_name: the name that the person keeps, where photos were added under another; empty elsewhere.
    """

    outcome: EnrollmentOutcome
    record: PersonRecord
    photos: tuple[str, ...]
    augmented: tuple[str, ...]
    kept_name: str = ""


class Enroller:
    """Enrolls and erases people."""

    def __init__(self, drafter: Drafter, reconciler: Reconciler, executor: Executor):
        self._drafter = drafter
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
        draft = self._draft(workspace, upload)
        with workspace.lock(person_id):
            return self._commit(workspace, draft, _Name(stored_name, capitalise(name)), in_place)

    def delete(self, workspace: Workspace, person_id: str) -> None:
        """Erases a person: row, templates, photos, uploads.

        Raises:
            NotEnrolled: there is no such person; whatever is left of one is erased all the same.
            ErasureIncomplete: the person is gone, and something that was kept of them cannot be deleted yet.
        """
        check_person_id(person_id, workspace.env.id_regex)
        with workspace.lock(person_id):
            existed = self.erase_locked(workspace, person_id)
        if not existed:
            raise NotEnrolled(f"{person_id!r} is not enrolled")

    def delete_unused(self, workspace: Workspace, person_id: str, day: int) -> bool:
        """Erases a person who was last used before that day (since 1970); False where that is not so, or no more.

        Raises:
            ErasureIncomplete: see `delete`.
        """
        with workspace.lock(person_id):
            last_use = workspace.records.last_uses([person_id]).get(person_id, day)
            return last_use < day and self.erase_locked(workspace, person_id)

    def erase_locked(self, workspace: Workspace, person_id: str) -> bool:
        """The same, for callers who hold the person's lock; returns whether there was such a person."""
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
            find_record(workspace, person_id)
            raise
        find_record(workspace, person_id)
        return upload

    def _draft(self, workspace: Workspace, upload: Upload) -> Draft:
        found = map_parallel(self._executor, lambda photo: self._shot(workspace, upload, photo), upload.photos)
        shots = [shot for shot in found if shot is not None]
        if not shots:
            raise NoSingleFace("no photo shows exactly one face")
        return self._drafter.draft(workspace, upload.person_id, shots, upload.upload_id)

    def _shot(self, workspace: Workspace, upload: Upload, photo: str) -> Shot | None:
        faces = self._drafter.faces(workspace, workspace.uploads.read(upload, photo))
        if len(faces) != 1:
            return None
        return Shot(faces[0], PhotoFacts("", Source.UPLOAD, now(), upload.qualities.get(photo)))

    def _commit(self, workspace: Workspace, draft: Draft, name: "_Name", in_place: bool) -> EnrollmentResult:
        person_id = draft.person_id
        self._reconciler.finish_locked_person(workspace, person_id)
        workspace.uploads.open(draft.upload_id)  # another request may have enrolled it meanwhile
        earlier = find_record(workspace, person_id)
        if earlier and not in_place:
            self._reconciler.embed_missing_locked(workspace, earlier)
            row, entry = earlier, draft.adding_to(workspace, earlier)
        else:
            row, entry = draft.starting(workspace, name.stored, earlier)
        profile = _profile(workspace, row, earlier, name)
        record = self._drafter.commit(workspace, draft, row, entry, profile)
        names = tuple(photo.name for photo in draft.photos if not photo.augmented)
        augmented = tuple(photo.name for photo in draft.photos if photo.augmented)
        kept = "" if row.name == name.stored else capitalise(profile.display_name)
        return EnrollmentResult(_outcome(earlier, in_place), record, names, augmented, kept)


@dataclass(frozen=True)
class _Name:
    """A name that was asked for, as it is stored and as it is shown."""

    stored: str
    shown: str


def _outcome(earlier: PersonRecord | None, in_place: bool) -> EnrollmentOutcome:
    if earlier is None:
        return EnrollmentOutcome.CREATED
    return EnrollmentOutcome.REPLACED if in_place else EnrollmentOutcome.ADDED


def _profile(workspace: Workspace, row: PersonRecord, earlier: PersonRecord | None, name: _Name) -> Profile:
    """What is known of the person afterwards: what was before, under the row's name; with the capitals that were given."""
    known = profile_of(workspace, earlier) if earlier else None
    profile = replace(current_profile(row, known), created_at=known.created_at if known else now(), updated_at=now())
    has_capitals = name.stored == row.name and name.shown != display_name(row.name)
    return replace(profile, display_name=name.shown) if has_capitals else profile
