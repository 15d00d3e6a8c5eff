"""Reconciliation: brings templates, photos and uploads in line with the truth, which is the rows and the photos.

A committed enrollment or erasure is finished here, by whoever comes first: its own request, the next request about the
person, or the gateway's own thread (server.py). Whoever has photos and a row but no templates, as people enrolled by the
original, is embedded when first needed.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from services.common.call import seconds_left
from services.common.env import SqlSettings
from services.common.errors import InvalidImage, RecoError
from services.gateway.errors import Busy
from services.gateway.pipeline.erase import delete_all, unstage_dead
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.stages.types import (
    CropFile,
    DetectorStage,
    EmbedderStage,
    EnrolledPerson,
    EnrollmentPhoto,
    FaceTemplate,
)
from services.gateway.storage.types import FacePhoto, JournalEntry, PersonRecord, Workspace

log = logging.getLogger("reco")

#: Rows read at a time.
PAGE = 1000

#: Templates that are known already, by photo name.
Templates = Mapping[str, tuple[FaceTemplate, ...]]

#: An enrollment that was committed, and its photos with their templates.
Addition = tuple[JournalEntry, tuple[EnrollmentPhoto, ...]]


class Reconciler:
    """Finishes committed enrollments, and makes missing templates from photos.

    Methods that end in `_locked` are for callers who hold the person's lock.
    """

    def __init__(self, detector: DetectorStage, embedder: EmbedderStage, executor: Executor):
        self._detector = detector
        self._embedder = embedder
        self._executor = executor
        self._lock = threading.Lock()
        self._embedded: dict[tuple[SqlSettings, str, str], int] = {}
        self._unpurged = False
        self._doubted = set[str]()

    def finish_enrollments(self, workspace: Workspace, person_id: str | None = None) -> None:
        """Finishes the committed enrollments of a person, or of all, that their own request has not finished.

        Erasures are left to `finish_all`: whose row is gone is verified and found no more.
        """
        for entry in workspace.records.journal(person_id):
            if entry.erases is None:
                with workspace.lock(entry.person_id):
                    self.finish_locked_person(workspace, entry.person_id)

    def finish_locked_person(self, workspace: Workspace, person_id: str) -> None:
        """Finishes all that was committed for one person."""
        for entry in workspace.records.journal(person_id):
            self.finish_locked(workspace, entry, None)

    def finish_all(self, workspace: Workspace) -> None:
        """Finishes all that was committed for anybody; what fails for one person keeps nobody else waiting.

        Raises:
            RecoError, OSError: the first failure.
        """
        failures: list[RecoError | OSError] = []
        self._doubted |= workspace.locks.lost()
        for person_id in tuple(self._doubted):
            try:
                self._make_sure(workspace, person_id)
            except (RecoError, OSError) as err:
                failures.append(err)
        for person_id in dict.fromkeys(entry.person_id for entry in workspace.records.journal()):
            try:
                with workspace.lock(person_id):
                    self.finish_locked_person(workspace, person_id)
            except (RecoError, OSError) as err:
                failures.append(err)
        if self._unpurged:
            self._purge(workspace)
        if failures:
            raise failures[0]

    def finish_locked(self, workspace: Workspace, entry: JournalEntry, templates: Templates | None) -> None:
        """Does what a committed enrollment or erasure still needs, each step idempotent.

        Args:
            templates: of the photos that were committed, if those that stay have theirs; None makes all anew.
        """
        if entry.erases is not None:
            delete_all(workspace, self._embedder, entry)
            self._unpurged = True
            workspace.records.delete_entry(entry.enrollment_id)
            self._purge(workspace)
            return
        workspace.locks.check()
        workspace.photos.publish(entry.enrollment_id, entry.folder)
        if entry.drop:
            workspace.locks.check()
            workspace.photos.remove(entry.drop_folder, entry.drop)
        keep = frozenset[str]() if templates is None else frozenset(entry.keep)
        self._enroll(workspace, entry.person_id, entry.folder, templates or {}, keep)
        workspace.locks.check()
        workspace.uploads.consume(entry.upload_id)
        workspace.records.delete_entry(entry.enrollment_id)

    def finish_together_locked(self, workspace: Workspace, added: Sequence[Addition]) -> None:
        """`finish_locked` of several people, who got photos whose templates are known, and lost none."""
        workspace.locks.check()
        map_parallel(self._executor, lambda one: workspace.photos.publish(one[0].enrollment_id, one[0].folder), added)
        workspace.locks.check()
        people = [EnrolledPerson(entry.person_id, photos, entry.keep) for entry, photos in added]
        self._embedder.enroll_people(workspace.models.made, people)
        workspace.records.delete_entries([entry.enrollment_id for entry, _ in added])

    def clean_up(self, workspace: Workspace) -> None:
        """After processes have died: deletes what they did not commit, and finishes what they did."""
        self._unpurged = True  # one of them may have died before it could
        self.sweep(workspace)
        self.finish_all(workspace)

    @staticmethod
    def sweep(workspace: Workspace) -> None:
        """Deletes what processes that died have left unfinished, and uploads that have waited too long."""
        workspace.uploads.remove_unfinished()
        workspace.uploads.remove_expired()
        workspace.photos.remove_abandoned()
        for stripe in {enrollment_id.partition("-")[0] for enrollment_id in workspace.photos.staged()}:
            with workspace.locks.hold_stripes(int(stripe) if stripe.isdigit() else 0):
                unstage_dead(workspace, stripe)

    def _purge(self, workspace: Workspace) -> None:
        """What was deleted must not stay in the database's own files."""
        workspace.records.purge()
        self._unpurged = False

    def embed_missing(self, workspace: Workspace, record: PersonRecord) -> None:
        """Makes the templates that a person lacks, from the photos."""
        if self._lacks_templates(workspace, record):
            with workspace.lock(record.person_id):
                self.embed_missing_locked(workspace, record)

    def embed_missing_locked(self, workspace: Workspace, record: PersonRecord) -> None:
        """The same."""
        if self._lacks_templates(workspace, record):
            self.embed_locked(workspace, record)

    def embed_all_missing(self, workspace: Workspace, generation: str | None = None) -> bool:
        """Makes the templates that people lack whose rows are new since the last call for this generation of templates.

        Args:
            generation: see IdentifiedPeople; None asks for it.

        Returns:
            Whether there was anybody.
        """
        env = workspace.env
        generation = generation or self._embedder.generation(workspace.models.answering)
        if not self._lock.acquire(timeout=seconds_left()):
            raise Busy("templates are being made of people who had none")
        try:
            return self._embed_since(workspace, (env.sql, env.sql_table, generation))
        finally:
            self._lock.release()

    def _embed_since(self, workspace: Workspace, key: tuple[SqlSettings, str, str]) -> bool:
        last, anybody = self._embedded.get(key, 0), False
        while page := workspace.records.after(last, PAGE):
            ids = [record.person_id for record in page]
            lacking = set(self._embedder.unenrolled(ids, workspace.models.answering))
            for record in page:
                if record.person_id in lacking:
                    self.embed_missing(workspace, record)
                    anybody = True
            last = page[-1].record_id
            self._embedded = {key: last}
        return anybody

    def embed_locked(self, workspace: Workspace, record: PersonRecord) -> None:
        """Makes all templates of a person anew from the photos, unless they were erased or changed since `record`."""
        if self._is_current(workspace, record):
            self._enroll(workspace, record.person_id, record.folder, {}, frozenset())

    def embed_changed_locked(self, workspace: Workspace, record: PersonRecord) -> None:
        """Makes a person's templates anew of photos that are not what they were made of; all where any is missing."""
        if not self._is_current(workspace, record):
            return
        names, known = workspace.photos.names(record.folder), workspace.people.digests(record.record_id)
        digests = {name: workspace.photos.read_one(record.folder, name, names[name]).digest for name in names}
        same = {name for name, digest in digests.items() if known.get(name) == digest}
        if self._lacks_templates(workspace, record):
            same = set()
        if same != known.keys() | digests.keys():
            self._enroll(workspace, record.person_id, record.folder, {}, frozenset(same))
            workspace.people.note_digests(record.record_id, digests)

    def embed_by_locked(self, workspace: Workspace, record: PersonRecord, models: Sequence[str]) -> None:
        """Makes those of these models, and leaves those of others as they are."""
        if self._is_current(workspace, record):
            photos = self._with_crops(workspace, workspace.photos.read(record.folder))
            workspace.locks.check()
            self._store(models, photos, lambda fit: self._embedder.enroll(record.person_id, models, fit, (), True))

    def _make_sure(self, workspace: Workspace, person_id: str) -> None:
        """Two have worked on a person at once, for one had lost the lock: makes the templates anew, or deletes them."""
        with workspace.lock(person_id):
            self.finish_locked_person(workspace, person_id)
            record = workspace.records.find(person_id)
            if record:
                self.embed_locked(workspace, record)
            else:
                self._embedder.remove(person_id)
        self._doubted.discard(person_id)

    def remove_orphaned(self, workspace: Workspace, person_id: str) -> None:
        """Deletes the templates of someone whose row is gone."""
        with workspace.lock(person_id):
            if workspace.records.find(person_id) is None:
                self._embedder.remove(person_id)

    @staticmethod
    def _is_current(workspace: Workspace, record: PersonRecord) -> bool:
        """Whether the person is still there as they were, and so are their photos."""
        now = workspace.records.find(record.person_id)
        if now is None or replace(now, name=record.name) != record:  # another name changes nothing about templates
            return False
        if not workspace.photos.has(record.folder):
            log.warning("the folder of row %d is gone; it has no templates", record.record_id)
            return False
        return True

    def _lacks_templates(self, workspace: Workspace, record: PersonRecord) -> bool:
        return bool(self._embedder.unenrolled([record.person_id], workspace.models.answering))

    def _enroll(
        self, workspace: Workspace, person_id: str, folder: str, templates: Templates, keep: frozenset[str]
    ) -> None:
        """Makes the photos in the folder the person's; those in `keep` have templates already. Only those are read of which
        no templates are known."""
        names = {name: is_made for name, is_made in workspace.photos.names(folder).items() if name not in keep}
        known = [
            EnrollmentPhoto(name, is_made, templates[name]) for name, is_made in names.items() if name in templates
        ]
        unknown = (
            workspace.photos.read_one(folder, name, is_made) for name, is_made in names.items() if name not in templates
        )
        wanted, models, kept = [*known, *self._with_crops(workspace, unknown)], workspace.models.made, sorted(keep)
        workspace.locks.check()
        self._store(models, wanted, lambda fit: self._embedder.enroll(person_id, models, fit, kept))

    def _store(
        self,
        models: Sequence[str],
        photos: Sequence[EnrollmentPhoto],
        enroll: Callable[[Sequence[EnrollmentPhoto]], None],
    ) -> None:
        """Enrolls photos; those that cannot be read, as only others than this system leave them, are left out."""
        try:
            enroll(photos)
        except InvalidImage:
            enroll([photo for photo in photos if self._is_readable(models, photo)])

    def _is_readable(self, models: Sequence[str], photo: EnrollmentPhoto) -> bool:
        if not isinstance(photo.face, CropFile):
            return True
        try:
            self._embedder.embed(models, [photo.face])
        except InvalidImage as err:
            log.warning("a stored photo cannot be read and is left out: %s", err)
            return False
        return True

    def _with_crops(self, workspace: Workspace, photos: Iterable[FacePhoto]) -> list[EnrollmentPhoto]:
        found = map_parallel(self._executor, lambda photo: self._with_crop(workspace, photo), photos)
        return [photo for photo in found if photo is not None]

    def _with_crop(self, workspace: Workspace, photo: FacePhoto) -> EnrollmentPhoto | None:
        if photo.landmarks is not None:
            return EnrollmentPhoto(photo.name, photo.augmented, CropFile(photo.png, photo.landmarks))
        found = self._largest_face(workspace, photo)
        return EnrollmentPhoto(photo.name, photo.augmented, found) if found else None

    def _largest_face(self, workspace: Workspace, photo: FacePhoto) -> CropFile | None:
        """Of a photo that the original stored, which has no landmarks in it."""
        try:
            faces = self._detector.detect(photo.png, workspace.crop_size).faces
        except InvalidImage:
            faces = ()
        if not faces:
            log.warning("no face found in a stored photo; it is left out")
            return None
        return max(faces, key=lambda face: face.box.width * face.box.height).crop
