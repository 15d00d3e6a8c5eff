"""The typed API, reco.gateway.v1.GatewayService: proto to domain and back, one call per RPC."""

from dataclasses import asdict

from reco.detector.v1 import detector_pb2
from reco.embedder.v1 import embedder_pb2
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from reco.liveness.v1 import liveness_pb2

from services.gateway.errors import NotEnrolled
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.enroll import EnrollmentKind, Enrollments
from services.gateway.pipeline.upload import Intake, NamedPhoto, PhotoOutcome, PhotoResult
from services.gateway.pipeline.verify import Outcome, Verifications, VerifyOptions
from services.gateway.stages.types import FaceLiveness, Verdict
from services.gateway.storage.workspace import Workspaces

PHOTO_OUTCOMES = {
    PhotoOutcome.SAVED: gateway_pb2.PhotoResult.OUTCOME_SAVED,
    PhotoOutcome.REJECTED: gateway_pb2.PhotoResult.OUTCOME_REJECTED,
    PhotoOutcome.UNDECODABLE: gateway_pb2.PhotoResult.OUTCOME_UNDECODABLE,
}
ENROLMENT_KINDS = {
    EnrollmentKind.CREATED: gateway_pb2.EnrollPersonResponse.OUTCOME_CREATED,
    EnrollmentKind.ADDED: gateway_pb2.EnrollPersonResponse.OUTCOME_ADDED,
    EnrollmentKind.REPLACED: gateway_pb2.EnrollPersonResponse.OUTCOME_REPLACED,
}
VERIFY_OUTCOMES = {
    Outcome.VERIFIED: gateway_pb2.VerifyPersonResponse.OUTCOME_VERIFIED,
    Outcome.FOUND_SAME: gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME,
    Outcome.FOUND_OTHER: gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_OTHER,
    Outcome.FOUND_NONE: gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_NONE,
    Outcome.SPOOF: gateway_pb2.VerifyPersonResponse.OUTCOME_SPOOF,
}
VERDICTS = {
    Verdict.REAL: liveness_pb2.FaceLiveness.VERDICT_REAL,
    Verdict.SPOOF: liveness_pb2.FaceLiveness.VERDICT_SPOOF,
    Verdict.UNDECIDABLE: liveness_pb2.FaceLiveness.VERDICT_UNDECIDABLE,
}


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """Uploads, enrollment, verification and erasure, typed."""

    def __init__(
        self,
        workspaces: Workspaces,
        intake: Intake,
        enrollments: Enrollments,
        verifications: Verifications,
        metrics: GatewayMetrics,
    ):
        self._workspaces = workspaces
        self._intake = intake
        self._enrollments = enrollments
        self._verifications = verifications
        self._metrics = metrics

    def UploadPhotos(self, request, context):
        photos = [NamedPhoto(photo.name, photo.image) for photo in request.photos]
        result = self._intake.upload(self._workspaces.open(), request.person_id, photos)
        upload_id = result.upload.upload_id if result.upload else ""
        return gateway_pb2.UploadPhotosResponse(upload_id=upload_id, photos=[_photo(photo) for photo in result.photos])

    def EnrollPerson(self, request, context):
        done = self._enrollments.enroll(self._workspaces.open(), request.upload_id, request.name, request.in_place)
        return gateway_pb2.EnrollPersonResponse(
            outcome=ENROLMENT_KINDS[done.kind],
            record_id=done.record.record_id,
            photos=done.photos,
            augmented_photos=done.augmented,
        )

    def VerifyPerson(self, request, context):
        options = VerifyOptions(request.skip_verify, request.skip_search, request.skip_liveness)
        done = self._verifications.verify(self._workspaces.open(), request.upload_id, options)
        self._metrics.verified(done.outcome, options)
        return gateway_pb2.VerifyPersonResponse(
            outcome=VERIFY_OUTCOMES[done.outcome],
            name=done.name or "",
            distance=done.distance or 0.0,
            liveness=[_liveness(face) for face in done.liveness],
            fusion=embedder_pb2.Fusion(**asdict(done.fusion)) if done.fusion else None,
        )

    def DeletePerson(self, request, context):
        try:
            self._enrollments.delete(self._workspaces.open(), request.person_id)
        except NotEnrolled:
            return gateway_pb2.DeletePersonResponse(existed=False)
        return gateway_pb2.DeletePersonResponse(existed=True)


def _photo(result: PhotoResult) -> gateway_pb2.PhotoResult:
    score = None
    if result.quality:
        components = detector_pb2.ScoreImageResponse.Components(**result.quality.components)
        score = detector_pb2.ScoreImageResponse(score=result.quality.score, components=components)
    return gateway_pb2.PhotoResult(
        name=result.name, outcome=PHOTO_OUTCOMES[result.outcome], score=score, saved_as=result.saved_as
    )


def _liveness(face: FaceLiveness) -> liveness_pb2.FaceLiveness:
    return liveness_pb2.FaceLiveness(verdict=VERDICTS[face.verdict], score=face.score)
