"""The pipeline, each of whose actions leaves a line in the audit log."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from services.common import call
from services.common.errors import RecoError
from services.gateway.access.audit import Event
from services.gateway.access.keys import RETENTION
from services.gateway.pipeline.enroll import EnrollmentResult
from services.gateway.pipeline.examine import PhotoReport
from services.gateway.pipeline.faces import FaceClaim, FaceVerdict, IdentifiedFaces, IdentifyOptions
from services.gateway.pipeline.pipeline import (
    Enrolls,
    Exports,
    Imports,
    Merges,
    Pipeline,
    Reads,
    Registers,
    Shows,
    Uploads,
    Verifies,
)
from services.gateway.pipeline.registrar import Change, Created, NewPerson
from services.gateway.pipeline.transfer.exporting import ExportPage
from services.gateway.pipeline.transfer.importing import Imported, ImportOutcome
from services.gateway.pipeline.transfer.kept import KeptPerson
from services.gateway.pipeline.upload import NamedPhoto, PhotoOutcome, UploadResult, WaitingPage
from services.gateway.pipeline.verify import VerificationResult, VerifyOptions
from services.gateway.storage.profiles import Profile
from services.gateway.storage.types import Workspace, split_upload_id

IMPORTED = {ImportOutcome.IMPORTED: "created", ImportOutcome.ADDED: "added"}

#: Writes an event to the audit log.
Audit = Callable[[Event], None]


def audited(pipeline: Pipeline, audit: Audit) -> Pipeline:
    """The same pipeline, whose actions on people are audited when they have ended."""
    return replace(
        pipeline,
        uploader=AuditedUploader(pipeline.uploader, audit),
        enroller=AuditedEnroller(pipeline.enroller, audit),
        verifier=AuditedVerifier(pipeline.verifier, audit),
        registrar=AuditedRegistrar(pipeline.registrar, audit),
        directory=AuditedDirectory(pipeline.directory, audit),
        duplicates=AuditedDuplicates(pipeline.duplicates, audit),
        faces=AuditedFaces(pipeline.faces, audit),
        exporter=AuditedExporter(pipeline.exporter, audit),
        importer=AuditedImporter(pipeline.importer, audit),
    )


class AuditedUploader:
    """Uploads photos."""

    def __init__(self, uploader: Uploads, audit: Audit):
        self._uploader = uploader
        self._audit = audit

    def upload(self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto]) -> UploadResult:
        """See Uploader."""
        with _audited(self._audit, "upload", person_id) as ended:
            result = self._uploader.upload(workspace, person_id, photos)
            saved = sum(photo.outcome is PhotoOutcome.SAVED for photo in result.photos)
            ended.outcome = f"saved {saved} of {len(result.photos)}"
            return result

    def waiting(self, workspace: Workspace, after: str, limit: int) -> WaitingPage:
        """See Uploader."""
        return self._uploader.waiting(workspace, after, limit)

    def discard(self, workspace: Workspace, upload_id: str) -> bool:
        """See Uploader."""
        with _audited(self._audit, "delete_upload", split_upload_id(upload_id)[0]) as ended:
            existed = self._uploader.discard(workspace, upload_id)
            ended.outcome = "deleted" if existed else "absent"
            return existed


class AuditedEnroller:
    """Enrolls and erases people."""

    def __init__(self, enroller: Enrolls, audit: Audit):
        self._enroller = enroller
        self._audit = audit

    def enroll(self, workspace: Workspace, upload_id: str, name: str, in_place: bool) -> EnrollmentResult:
        """See Enroller."""
        with _audited(self._audit, "enroll", split_upload_id(upload_id)[0]) as ended:
            result = self._enroller.enroll(workspace, upload_id, name, in_place)
            ended.outcome = result.outcome.name.lower()
            return result

    def delete(self, workspace: Workspace, person_id: str) -> None:
        """See Enroller."""
        with _audited(self._audit, "erase", person_id) as ended:
            self._enroller.delete(workspace, person_id)
            ended.outcome = "erased"

    def delete_unused(self, workspace: Workspace, person_id: str, day: int) -> bool:
        """See Enroller; nobody's key does that."""
        outcome = ""
        try:
            outcome = "erased" if self._enroller.delete_unused(workspace, person_id, day) else ""
        except RecoError as err:
            outcome = err.reason
            raise
        finally:
            if outcome:
                self._audit(Event(RETENTION, "erase", person_id, outcome, "-"))
        return bool(outcome)


class AuditedVerifier:
    """Verifies and searches."""

    def __init__(self, verifier: Verifies, audit: Audit):
        self._verifier = verifier
        self._audit = audit

    def verify(self, workspace: Workspace, upload_id: str, options: VerifyOptions) -> VerificationResult:
        """See Verifier."""
        with _audited(self._audit, "verify", split_upload_id(upload_id)[0]) as ended:
            result = self._verifier.verify(workspace, upload_id, options)
            ended.outcome = result.outcome.name.lower()
            return result


class AuditedRegistrar:
    """Enrolls people by photos, changes what is known of them, and deletes photos."""

    def __init__(self, registrar: Registers, audit: Audit):
        self._registrar = registrar
        self._audit = audit

    def create(self, workspace: Workspace, new: NewPerson, photos: Sequence[NamedPhoto]) -> Created:
        """See Registrar."""
        with _audited(self._audit, "enroll", new.person_id) as ended:
            created = self._registrar.create(workspace, new, photos)
            ended.person_id, ended.outcome = created.person.person_id, "created"
            return created

    def add(
        self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto], request_id: str
    ) -> tuple[PhotoReport, ...]:
        """See Registrar."""
        with _audited(self._audit, "enroll", person_id) as ended:
            added = self._registrar.add(workspace, person_id, photos, request_id)
            ended.outcome = "added"
            return added

    def update(self, workspace: Workspace, person_id: str, change: Change) -> Profile:
        """See Registrar."""
        with _audited(self._audit, "update", person_id) as ended:
            updated = self._registrar.update(workspace, person_id, change)
            ended.outcome = "updated"
            return updated

    def delete_photo(self, workspace: Workspace, person_id: str, photo_id: str, delete_person: bool) -> bool:
        """See Registrar."""
        with _audited(self._audit, "delete_photo", person_id) as ended:
            erased = self._registrar.delete_photo(workspace, person_id, photo_id, delete_person)
            ended.outcome = "erased" if erased else "deleted"
            return erased


class AuditedFaces:
    """Looks at pictures; of that the claims and the searches are audited."""

    def __init__(self, faces: Reads, audit: Audit):
        self._audit = audit
        self._faces = faces
        self.see, self.compare = faces.see, faces.compare

    def identify(
        self, workspace: Workspace, image: bytes, largest_only: bool, options: IdentifyOptions
    ) -> IdentifiedFaces:
        """See FaceReader."""
        with _audited(self._audit, "identify", "") as ended:
            found = self._faces.identify(workspace, image, largest_only, options)
            known = sum(bool(face.candidates) for face in found.faces)
            ended.outcome = f"knew {known} of {len(found.faces)}"
            return found

    def verify(self, workspace: Workspace, image: bytes, claim: FaceClaim) -> FaceVerdict:
        """See FaceReader."""
        with _audited(self._audit, "verify", claim.person_id) as ended:
            verdict = self._faces.verify(workspace, image, claim)
            ended.outcome = "verified" if verdict.person else "spoof" if verdict.spoof else "not_verified"
            return verdict


class AuditedDirectory:
    """Shows people; of that the pictures are audited."""

    def __init__(self, directory: Shows, audit: Audit):
        self._audit = audit
        self._directory = directory
        self.follow, self.page, self.get = directory.follow, directory.page, directory.get
        self.photos, self.photo = directory.photos, directory.photo

    def image(self, workspace: Workspace, person_id: str, photo_id: str) -> bytes:
        """See Directory."""
        with _audited(self._audit, "view", person_id) as ended:
            image = self._directory.image(workspace, person_id, photo_id)
            ended.outcome = "shown"
            return image


class AuditedDuplicates:
    """Finds people who are enrolled twice, and merges them; of that the merges are audited, for both."""

    def __init__(self, duplicates: Merges, audit: Audit):
        self._audit = audit
        self._duplicates = duplicates
        self.page = duplicates.page

    def merge(self, workspace: Workspace, person_id: str, other_id: str) -> Profile:
        """See Duplicates."""
        with _audited(self._audit, "merge", person_id) as ended, _audited(self._audit, "erase", other_id) as erased:
            merged = self._duplicates.merge(workspace, person_id, other_id)
            ended.outcome = erased.outcome = "merged"
            return merged


class AuditedExporter:
    """Reads people for another installation."""

    def __init__(self, exporter: Exports, audit: Audit):
        self._audit = audit
        self._exporter = exporter

    def read(self, workspace: Workspace, after: tuple[str, int] | None, templates: bool) -> ExportPage:
        """See Exporter."""
        with _audited(self._audit, "export", "") as ended:
            page = self._exporter.read(workspace, after, templates)
            ended.outcome = f"{len(page.people)} people"
            return page


class AuditedImporter:
    """Enrolls people of another installation; each of them is audited."""

    def __init__(self, importer: Imports, audit: Audit):
        self._audit = audit
        self._importer = importer

    def write(self, workspace: Workspace, people: Sequence[KeptPerson]) -> list[Imported]:
        """See Importer; whom a failure leaves enrolled is told when they come again."""
        done = self._importer.write(workspace, people)
        for one in done:
            if outcome := IMPORTED.get(one.outcome):
                with _audited(self._audit, "enroll", one.person_id) as ended:
                    ended.outcome = outcome
        return done


@dataclass
class _Ended:
    """How an action ends, and whom it was about."""

    person_id: str
    outcome: str = "INTERNAL"


@contextmanager
def _audited(audit: Audit, action: str, person_id: str) -> Iterator[_Ended]:
    ended = _Ended(person_id)
    try:
        yield ended
    except RecoError as err:
        ended.outcome = err.reason
        raise
    finally:
        audit(Event(call.key_name.get(), action, ended.person_id, ended.outcome, call.request_id.get()))
