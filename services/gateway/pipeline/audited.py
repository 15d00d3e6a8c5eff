"""The pipeline, each of whose actions leaves a line in the audit log."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from services.common import call
from services.common.errors import RecoError
from services.gateway.access.audit import Event
from services.gateway.access.keys import RETENTION
from services.gateway.pipeline.enroll import EnrollmentResult
from services.gateway.pipeline.pipeline import Enrolls, Pipeline, Uploads, Verifies
from services.gateway.pipeline.upload import NamedPhoto, PhotoOutcome, UploadResult
from services.gateway.pipeline.verify import VerificationResult, VerifyOptions
from services.gateway.storage.types import Workspace, split_upload_id

#: Writes an event to the audit log.
Audit = Callable[[Event], None]


def audited(pipeline: Pipeline, audit: Audit) -> Pipeline:
    """The same pipeline, whose uploads, enrollments, verifications and erasures are audited when they have ended."""
    return replace(
        pipeline,
        uploader=AuditedUploader(pipeline.uploader, audit),
        enroller=AuditedEnroller(pipeline.enroller, audit),
        verifier=AuditedVerifier(pipeline.verifier, audit),
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


@dataclass
class _Ended:
    """How an action ends."""

    outcome: str = "INTERNAL"


@contextmanager
def _audited(audit: Audit, action: str, person_id: str) -> Iterator[_Ended]:
    ended = _Ended()
    try:
        yield ended
    except RecoError as err:
        ended.outcome = err.reason
        raise
    finally:
        audit(Event(call.key_name.get(), action, person_id, ended.outcome, call.request_id.get()))
