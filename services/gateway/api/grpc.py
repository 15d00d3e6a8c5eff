"""The typed API, reco.gateway.v1.GatewayService: proto to domain and back, one call per RPC."""

from dataclasses import asdict

import grpc
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from reco.types.v1 import results_pb2

from services.common.faces import Verdict
from services.gateway.api.page_tokens import UploadsFilter, read_token, write_token
from services.gateway.api.people import MAX_PAGE_SIZE, PAGE_SIZE, from_moment
from services.gateway.api.problems import check_number
from services.gateway.errors import NotEnrolled
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.enroll import EnrollmentOutcome
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.pipeline.upload import NamedPhoto, PhotoOutcome, PhotoResult
from services.gateway.pipeline.verify import VerificationOutcome, VerifyOptions
from services.gateway.stages.types import FaceLiveness
from services.gateway.storage.types import WaitingUpload, Workspaces

PHOTO_OUTCOMES = {
    PhotoOutcome.SAVED: gateway_pb2.PhotoResult.OUTCOME_SAVED,
    PhotoOutcome.REJECTED: gateway_pb2.PhotoResult.OUTCOME_REJECTED,
    PhotoOutcome.UNDECODABLE: gateway_pb2.PhotoResult.OUTCOME_UNDECODABLE,
}
ENROLLMENT_OUTCOMES = {
    EnrollmentOutcome.CREATED: gateway_pb2.EnrollPersonResponse.OUTCOME_CREATED,
    EnrollmentOutcome.ADDED: gateway_pb2.EnrollPersonResponse.OUTCOME_ADDED,
    EnrollmentOutcome.REPLACED: gateway_pb2.EnrollPersonResponse.OUTCOME_REPLACED,
}
VERIFICATION_OUTCOMES = {
    VerificationOutcome.VERIFIED: gateway_pb2.VerifyPersonResponse.OUTCOME_VERIFIED,
    VerificationOutcome.FOUND_SAME: gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME,
    VerificationOutcome.FOUND_OTHER: gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_OTHER,
    VerificationOutcome.FOUND_NONE: gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_NONE,
    VerificationOutcome.SPOOF: gateway_pb2.VerifyPersonResponse.OUTCOME_SPOOF,
}
VERDICTS = {
    Verdict.REAL: results_pb2.FaceLiveness.VERDICT_REAL,
    Verdict.SPOOF: results_pb2.FaceLiveness.VERDICT_SPOOF,
    Verdict.UNDECIDABLE: results_pb2.FaceLiveness.VERDICT_UNDECIDABLE,
}


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """Uploads, enrollment, verification and erasure, typed."""

    def __init__(self, workspaces: Workspaces, pipeline: Pipeline, metrics: GatewayMetrics):
        self._workspaces = workspaces
        self._pipeline = pipeline
        self._metrics = metrics

    def UploadPhotos(
        self, request: gateway_pb2.UploadPhotosRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.UploadPhotosResponse:
        photos = [NamedPhoto(photo.name, photo.image) for photo in request.photos]
        result = self._pipeline.uploader.upload(self._workspaces.open(), request.person_id, photos)
        upload_id = result.upload.upload_id if result.upload else ""
        return gateway_pb2.UploadPhotosResponse(upload_id=upload_id, photos=[_photo(photo) for photo in result.photos])

    def ListUploads(
        self, request: gateway_pb2.ListUploadsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListUploadsResponse:
        size = check_number("page_size", request.page_size, MAX_PAGE_SIZE, PAGE_SIZE)
        after = read_token("page_token", request.page_token, UploadsFilter())
        page = self._pipeline.uploader.waiting(self._workspaces.open(), str(after[0]) if after else "", size)
        token = write_token((page.after, 0), UploadsFilter()) if page.after else ""
        return gateway_pb2.ListUploadsResponse(uploads=map(_waiting, page.uploads), next_page_token=token)

    def DeleteUpload(
        self, request: gateway_pb2.DeleteUploadRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.DeleteUploadResponse:
        existed = self._pipeline.uploader.discard(self._workspaces.open(), request.upload_id)
        return gateway_pb2.DeleteUploadResponse(existed=existed)

    def EnrollPerson(
        self, request: gateway_pb2.EnrollPersonRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.EnrollPersonResponse:
        done = self._pipeline.enroller.enroll(
            self._workspaces.open(), request.upload_id, request.name, request.in_place
        )
        return gateway_pb2.EnrollPersonResponse(
            outcome=ENROLLMENT_OUTCOMES[done.outcome],
            record_id=done.record.record_id,
            photos=done.photos,
            augmented_photos=done.augmented,
            kept_name=done.kept_name,
        )

    def VerifyPerson(
        self, request: gateway_pb2.VerifyPersonRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.VerifyPersonResponse:
        options = VerifyOptions(request.skip_verify, request.skip_search, request.skip_liveness)
        done = self._pipeline.verifier.verify(self._workspaces.open(), request.upload_id, options)
        self._metrics.verified(done.outcome, options)
        return gateway_pb2.VerifyPersonResponse(
            outcome=VERIFICATION_OUTCOMES[done.outcome],
            name=done.name or "",
            distance=done.distance or 0.0,
            threshold=done.match.threshold if done.match else 0.0,
            fmr=(done.match.fmr or 0.0) if done.match else 0.0,
            liveness=[from_liveness(face) for face in done.liveness],
            fusion=results_pb2.Fusion(**asdict(done.fusion)) if done.fusion else None,
        )

    def DeletePerson(
        self, request: gateway_pb2.DeletePersonRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.DeletePersonResponse:
        try:
            self._pipeline.enroller.delete(self._workspaces.open(), request.person_id)
        except NotEnrolled:
            return gateway_pb2.DeletePersonResponse(existed=False)
        return gateway_pb2.DeletePersonResponse(existed=True)


def _photo(result: PhotoResult) -> gateway_pb2.PhotoResult:
    score = None
    if result.quality:
        components = results_pb2.Quality.Components(**result.quality.components)
        score = results_pb2.Quality(score=result.quality.score, components=components)
    return gateway_pb2.PhotoResult(
        name=result.name, outcome=PHOTO_OUTCOMES[result.outcome], score=score, saved_as=result.saved_as
    )


def from_liveness(face: FaceLiveness) -> results_pb2.FaceLiveness:
    """A verdict as a message."""
    return results_pb2.FaceLiveness(verdict=VERDICTS[face.verdict], score=face.score)


def _waiting(upload: WaitingUpload) -> gateway_pb2.WaitingUpload:
    return gateway_pb2.WaitingUpload(
        upload_id=upload.upload_id,
        person_id=upload.person_id,
        photos=upload.photos,
        create_time=from_moment(int(upload.stored_at * 1e6)),
    )
