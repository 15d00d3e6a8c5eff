"""Keeps the stages in step with the truth, which is the rows and the photos.

A committed enrollment is finished here, by whoever meets it first: its own request, the next request that looks at the
person, or a restart. People whom the original enrolled (photos and a row, no templates) are embedded when first needed.
"""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Executor

from services.common.call import seconds_left
from services.common.errors import InvalidImage
from services.gateway.errors import Busy
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.stages.types import Crop, Detector, Embedder, GalleryPhoto, Template
from services.gateway.storage.locks import person_lock, stripe_lock
from services.gateway.storage.photos import FacePhoto
from services.gateway.storage.records import Enrollment, PersonRecord
from services.gateway.storage.workspace import Workspace

log = logging.getLogger("reco")

#: Rows looked at in one step when searching for people without templates.
PAGE = 1000

#: Templates of an enrollment that are known already, by photo name.
Templates = Mapping[str, tuple[Template, ...]]


class Galleries:
    """Finishes enrollments and makes missing templates from photos."""

    def __init__(self, detector: Detector, embedder: Embedder, executor: Executor):
        self._detector = detector
        self._embedder = embedder
        self._executor = executor
        self._lock = threading.Lock()
        self._adopted: dict[tuple, int] = {}

    def recover(self, workspace: Workspace, person_id: str | None = None) -> None:
        """Finishes the committed enrollments of a person, or of all, that their own request has not finished."""
        for enrollment in workspace.records.unfinished(person_id):
            with person_lock(workspace.env.db_path, enrollment.person_id):
                self.recover_locked(workspace, enrollment.person_id)

    def recover_locked(self, workspace: Workspace, person_id: str) -> None:
        """The same for a person whose lock the caller holds."""
        for enrollment in workspace.records.unfinished(person_id):
            self.finish(workspace, enrollment, {})

    def sweep(self, workspace: Workspace) -> None:
        """Finishes what was committed and removes what was not, after processes have died."""
        self.recover(workspace)
        workspace.uploads.sweep()
        for enrollment_id in workspace.images.staged():
            stripe = enrollment_id.partition("-")[0]
            with stripe_lock(workspace.env.db_path, int(stripe) if stripe.isdigit() else 0):
                pending = {enrollment.enrollment_id for enrollment in workspace.records.unfinished()}
                if enrollment_id not in pending:
                    workspace.images.unstage(enrollment_id)

    def finish(self, workspace: Workspace, enrollment: Enrollment, templates: Templates) -> None:
        """Does what a committed enrollment still needs, each step idempotent; the caller holds the person's lock."""
        images = workspace.images
        images.publish(enrollment.enrollment_id, enrollment.folder)
        if enrollment.drop:
            images.remove(enrollment.drop_folder, enrollment.drop)
        self._enroll(workspace, enrollment.person_id, enrollment.folder, templates, enrollment.keep)
        workspace.uploads.consume(enrollment.upload_id)
        workspace.records.finish(enrollment.enrollment_id)

    def adopt(self, workspace: Workspace, record: PersonRecord) -> None:
        """Makes the templates that a person lacks, from the photos; the caller holds the person's lock."""
        if self._embedder.unenrolled([record.person_id], workspace.env.selected_models):
            self._adopt(workspace, record)

    def adopt_if_needed(self, workspace: Workspace, record: PersonRecord) -> None:
        """The same for a caller who does not hold the lock."""
        if self._embedder.unenrolled([record.person_id], workspace.env.selected_models):
            with person_lock(workspace.env.db_path, record.person_id):
                self.adopt(workspace, record)

    def adopt_all(self, workspace: Workspace, generation: str | None = None) -> bool:
        """Makes the templates that people lack whose rows are new since the last call for this generation of templates.

        Args:
            generation: see Identification; None asks for it.

        Returns:
            Whether there was anybody.
        """
        env = workspace.env
        generation = generation or self._embedder.generation(env.selected_models)
        if not self._lock.acquire(timeout=seconds_left()):
            raise Busy("templates are being made of people who had none")
        try:
            return self._adopt_since(workspace, (env.sql, env.sql_table, generation))
        finally:
            self._lock.release()

    def _adopt_since(self, workspace: Workspace, key: tuple) -> bool:
        seen, anybody = self._adopted.get(key, 0), False
        while page := workspace.records.after(seen, PAGE):
            ids = [record.person_id for record in page]
            lacking = set(self._embedder.unenrolled(ids, workspace.env.selected_models))
            for record in page:
                if record.person_id in lacking:
                    self.adopt_if_needed(workspace, record)
                    anybody = True
            seen = page[-1].record_id
            self._adopted = {key: seen}
        return anybody

    def forget(self, workspace: Workspace, person_id: str) -> None:
        """Forgets the templates of someone whose row is gone."""
        with person_lock(workspace.env.db_path, person_id):
            if workspace.records.find(person_id) is None:
                self._embedder.remove(person_id)

    def rebuild(self, workspace: Workspace) -> list[str]:
        """Makes everybody's templates anew from their photos, one person at a time, and then the indexes.

        Returns:
            The models whose indexes were built.
        """
        seen = 0
        while page := workspace.records.after(seen, PAGE):
            for record in page:
                with person_lock(workspace.env.db_path, record.person_id):
                    self.recover_locked(workspace, record.person_id)
                    self._adopt(workspace, record)
            seen = page[-1].record_id
        return self._embedder.rebuild_index(workspace.env.selected_models)

    def _adopt(self, workspace: Workspace, record: PersonRecord) -> None:
        folder = workspace.images.folder_of(record.path)
        if not workspace.images.has(folder):
            log.warning("the folder of row %d is gone; nothing to search for", record.record_id)
            return
        self._enroll(workspace, record.person_id, folder, {}, ())

    def _enroll(
        self, workspace: Workspace, person_id: str, folder: str, templates: Templates, keep: tuple[str, ...]
    ) -> None:
        """Declares the photos in the folder to be the person's; those in `keep` have templates already."""
        kept = set(keep) if templates else set()
        photos = [photo for photo in workspace.images.read(folder) if photo.name not in kept]
        found = map_parallel(self._executor, lambda photo: self._gallery_photo(workspace, photo, templates), photos)
        wanted = [photo for photo in found if photo is not None]
        self._embedder.enroll(person_id, workspace.env.selected_models, wanted, sorted(kept))

    def _gallery_photo(self, workspace: Workspace, photo: FacePhoto, templates: Templates) -> GalleryPhoto | None:
        if photo.landmarks is not None:
            crop = Crop(photo.png, photo.landmarks)
            return GalleryPhoto(photo.name, photo.augmented, crop, templates.get(photo.name, ()))
        crop = self._find_face(workspace, photo)
        return GalleryPhoto(photo.name, photo.augmented, crop) if crop else None

    def _find_face(self, workspace: Workspace, photo: FacePhoto) -> Crop | None:
        """The face in a photo that the original stored; the largest where there are several."""
        try:
            faces = self._detector.look(photo.png, workspace.crop_size).faces
        except InvalidImage:
            faces = ()
        if not faces:
            log.warning("no face found in a stored photo; it is left out")
            return None
        return max(faces, key=lambda face: face.box.width * face.box.height).crop
