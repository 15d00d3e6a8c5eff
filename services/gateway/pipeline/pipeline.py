"""The pipeline behind both APIs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.gateway.pipeline.directory import Listing
from services.gateway.pipeline.duplicates import ConflictFilter, Conflicts
from services.gateway.pipeline.enroll import EnrollmentResult
from services.gateway.pipeline.examine import PhotoReport
from services.gateway.pipeline.faces import FaceClaim, FaceVerdict, IdentifiedFaces, IdentifyOptions, Likeness, Sight
from services.gateway.pipeline.operations.runner import Operations
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.registrar import Change, Created, NewPerson
from services.gateway.pipeline.transfer.exporting import ExportPage
from services.gateway.pipeline.transfer.importing import Imported
from services.gateway.pipeline.transfer.kept import KeptPerson
from services.gateway.pipeline.upkeep import Rebuilder
from services.gateway.pipeline.upload import NamedPhoto, UploadResult, WaitingPage
from services.gateway.pipeline.verify import VerificationResult, VerifyOptions
from services.gateway.stages.types import Limit
from services.gateway.storage.profiles import PeopleFilter, PhotoFacts, Position, Profile
from services.gateway.storage.types import Workspace
from services.gateway.storage.work import Operation


class Uploads(Protocol):
    """What Uploader does."""

    def upload(self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto]) -> UploadResult: ...

    def waiting(self, workspace: Workspace, after: str, limit: int) -> WaitingPage: ...

    def discard(self, workspace: Workspace, upload_id: str) -> bool: ...


class Enrolls(Protocol):
    """What Enroller does."""

    def enroll(self, workspace: Workspace, upload_id: str, name: str, in_place: bool) -> EnrollmentResult: ...

    def delete(self, workspace: Workspace, person_id: str) -> None: ...

    def delete_unused(self, workspace: Workspace, person_id: str, day: int) -> bool: ...


class Verifies(Protocol):
    """What Verifier does."""

    def verify(self, workspace: Workspace, upload_id: str, options: VerifyOptions) -> VerificationResult: ...


class Registers(Protocol):
    """What Registrar does."""

    def create(self, workspace: Workspace, new: NewPerson, photos: Sequence[NamedPhoto]) -> Created: ...

    def add(
        self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto], request_id: str
    ) -> tuple[PhotoReport, ...]: ...

    def update(self, workspace: Workspace, person_id: str, change: Change) -> Profile: ...

    def delete_photo(self, workspace: Workspace, person_id: str, photo_id: str, delete_person: bool) -> bool: ...


class Shows(Protocol):
    """What Directory does."""

    def follow(self, workspace: Workspace) -> None: ...

    def page(self, workspace: Workspace, wanted: PeopleFilter, after: Position | None, limit: int) -> Listing: ...

    def get(self, workspace: Workspace, person_id: str) -> Profile: ...

    def photos(self, workspace: Workspace, person_id: str) -> Sequence[PhotoFacts]: ...

    def photo(self, workspace: Workspace, person_id: str, photo_id: str) -> PhotoFacts: ...

    def image(self, workspace: Workspace, person_id: str, photo_id: str) -> bytes: ...


class Merges(Protocol):
    """What Duplicates does."""

    def page(self, workspace: Workspace, wanted: ConflictFilter, after: Position | None, limit: int) -> Conflicts: ...

    def merge(self, workspace: Workspace, person_id: str, other_id: str) -> Profile: ...


class Reads(Protocol):
    """What FaceReader does."""

    def see(self, workspace: Workspace, image: bytes, check_liveness: bool, largest_only: bool) -> Sight: ...

    def compare(
        self, workspace: Workspace, image: bytes, other: bytes, largest_only: bool, limit: Limit
    ) -> Likeness: ...

    def identify(
        self, workspace: Workspace, image: bytes, largest_only: bool, options: IdentifyOptions
    ) -> IdentifiedFaces: ...

    def verify(self, workspace: Workspace, image: bytes, claim: FaceClaim) -> FaceVerdict: ...


class Exports(Protocol):
    """What Exporter does."""

    def read(self, workspace: Workspace, after: tuple[str, int] | None, templates: bool) -> ExportPage: ...


class Imports(Protocol):
    """What Importer does."""

    def write(self, workspace: Workspace, people: Sequence[KeptPerson]) -> list[Imported]: ...


class RunsOperations(Protocol):
    """What Operations does for clients."""

    def all(self, workspace: Workspace) -> Sequence[Operation]: ...

    def get(self, workspace: Workspace, operation_id: str) -> Operation: ...

    def rebuild(self, workspace: Workspace) -> Operation: ...

    def cancel(self, workspace: Workspace, operation_id: str) -> Operation: ...


@dataclass(frozen=True)
class Pipeline:
    """What can be done with a workspace. Every part is safe to use from several threads."""

    uploader: Uploads
    enroller: Enrolls
    verifier: Verifies
    registrar: Registers
    directory: Shows
    duplicates: Merges
    faces: Reads
    exporter: Exports
    importer: Imports
    operations: Operations
    rebuilder: Rebuilder
    reconciler: Reconciler
