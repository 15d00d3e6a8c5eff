"""The pipeline behind both APIs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.gateway.pipeline.enroll import EnrollmentResult
from services.gateway.pipeline.rebuild import Rebuilder
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.upload import NamedPhoto, UploadResult
from services.gateway.pipeline.verify import VerificationResult, VerifyOptions
from services.gateway.storage.types import Workspace


class Uploads(Protocol):
    """What Uploader does."""

    def upload(self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto]) -> UploadResult: ...


class Enrolls(Protocol):
    """What Enroller does."""

    def enroll(self, workspace: Workspace, upload_id: str, name: str, in_place: bool) -> EnrollmentResult: ...

    def delete(self, workspace: Workspace, person_id: str) -> None: ...

    def delete_unused(self, workspace: Workspace, person_id: str, day: int) -> bool: ...


class Verifies(Protocol):
    """What Verifier does."""

    def verify(self, workspace: Workspace, upload_id: str, options: VerifyOptions) -> VerificationResult: ...


@dataclass(frozen=True)
class Pipeline:
    """What can be done with a workspace. Every part is safe to use from several threads."""

    uploader: Uploads
    enroller: Enrolls
    verifier: Verifies
    rebuilder: Rebuilder
    reconciler: Reconciler
