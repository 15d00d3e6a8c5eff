"""The typed API's faces, reco.gateway.v1.FacesService: proto to domain and back, one call per RPC."""

import math

import grpc
from reco.gateway.v1 import faces_pb2 as pb
from reco.gateway.v1 import faces_pb2_grpc
from reco.types.v1 import face_pb2

from services.common import convert
from services.common.faces import LANDMARK_NAMES
from services.gateway.api.grpc import from_liveness
from services.gateway.api.people import from_profile, from_quality
from services.gateway.api.problems import check_fmr, check_number
from services.gateway.errors import InvalidField
from services.gateway.pipeline.faces import FaceClaim, FaceVerdict, IdentifiedFace, IdentifyOptions, SeenFace
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.pipeline.profile import check_labels
from services.gateway.stages.types import FacePair, FoundFace, Limit, PersonMatch
from services.gateway.storage.profiles import Profile
from services.gateway.storage.types import Workspaces

TOP_K, MAX_TOP_K = 5, 100


class FacesServicer(faces_pb2_grpc.FacesServiceServicer):
    """Faces in pictures, typed."""

    def __init__(self, workspaces: Workspaces, pipeline: Pipeline):
        self._workspaces = workspaces
        self._pipeline = pipeline

    def DetectFaces(self, request: pb.DetectFacesRequest, context: grpc.ServicerContext) -> pb.DetectFacesResponse:
        image = _picture("image", request.image)
        workspace = self._workspaces.open()
        sight = self._pipeline.faces.see(workspace, image, request.check_liveness, request.largest_face_only)
        return pb.DetectFacesResponse(faces=map(_seen, sight.faces), quality=from_quality(sight.quality))

    def CompareFaces(self, request: pb.CompareFacesRequest, context: grpc.ServicerContext) -> pb.CompareFacesResponse:
        image, other = _picture("image", request.image), _picture("other_image", request.other_image)
        limit, workspace = _limit(request), self._workspaces.open()
        found = self._pipeline.faces.compare(workspace, image, other, request.largest_face_only, limit)
        return pb.CompareFacesResponse(
            faces=map(_place, found.faces), other_faces=map(_place, found.others), pairs=map(_pair, found.pairs)
        )

    def IdentifyFaces(
        self, request: pb.IdentifyFacesRequest, context: grpc.ServicerContext
    ) -> pb.IdentifyFacesResponse:
        image = _picture("image", request.image)
        top_k = check_number("top_k", request.top_k, MAX_TOP_K, TOP_K)
        options = IdentifyOptions(top_k, frozenset(check_labels("labels", request.labels)), _limit(request))
        workspace = self._workspaces.open()
        found = self._pipeline.faces.identify(workspace, image, request.largest_face_only, options)
        thresholds = [
            pb.IdentifyFacesResponse.Threshold(model=one.model, threshold=one.threshold, fmr=one.fmr or 0.0)
            for one in found.thresholds
        ]
        return pb.IdentifyFacesResponse(faces=map(_identified, found.faces), thresholds=thresholds)

    def VerifyFace(self, request: pb.VerifyFaceRequest, context: grpc.ServicerContext) -> pb.VerifyFaceResponse:
        image = _picture("image", request.image)
        claim = FaceClaim(request.person_id, request.skip_liveness, request.largest_face_only, _limit(request))
        return _verdict(self._pipeline.faces.verify(self._workspaces.open(), image, claim))


def _picture(field: str, image: bytes) -> bytes:
    if not image:
        raise InvalidField(field, "a picture is wanted")
    return image


def _limit(request: pb.CompareFacesRequest | pb.IdentifyFacesRequest | pb.VerifyFaceRequest) -> Limit:
    threshold, fmr = request.threshold, request.max_fmr
    if threshold and fmr:
        raise InvalidField("max_fmr", "either a threshold or a rate is taken")
    if not 0 <= threshold < math.inf:
        raise InvalidField("threshold", "a distance above 0 is wanted")
    return Limit(threshold or None, check_fmr("max_fmr", fmr))


def _place(face: FoundFace) -> pb.FacePlace:
    points = (face_pb2.Point(x=x, y=y) for x, y in face.landmarks)
    landmarks = face_pb2.Landmarks(**dict(zip(LANDMARK_NAMES, points, strict=False)))
    return pb.FacePlace(box=convert.from_box(face.box), landmarks=landmarks, confidence=face.confidence)


def _seen(seen: SeenFace) -> pb.DetectedFace:
    pose = pb.DetectedFace.Pose(yaw=seen.pose.yaw, pitch=seen.pose.pitch, roll=seen.pose.roll)
    liveness = from_liveness(seen.liveness) if seen.liveness else None
    return pb.DetectedFace(place=_place(seen.face), pose=pose, complaints=seen.complaints, liveness=liveness)


def _pair(pair: FacePair) -> pb.CompareFacesResponse.Pair:
    return pb.CompareFacesResponse.Pair(
        face=pair.probe,
        other_face=pair.other,
        same_person=pair.matches,
        distance=pair.distance,
        threshold=pair.threshold,
        similarity=pair.similarity,
        fmr=pair.fmr or 0.0,
        model=pair.model,
    )


def _identified(identity: IdentifiedFace) -> pb.IdentifyFacesResponse.IdentifiedFace:
    return pb.IdentifyFacesResponse.IdentifiedFace(
        place=_place(identity.face),
        unknown=not identity.candidates,
        candidates=[_candidate(*candidate) for candidate in identity.candidates],
    )


def _candidate(profile: Profile, match: PersonMatch) -> pb.IdentifyFacesResponse.Candidate:
    return pb.IdentifyFacesResponse.Candidate(
        person=from_profile(profile),
        distance=match.distance,
        threshold=match.threshold,
        similarity=match.similarity,
        model=match.model,
    )


def _verdict(verdict: FaceVerdict) -> pb.VerifyFaceResponse:
    answer = pb.VerifyFaceResponse(
        verified=verdict.person is not None,
        outcome=pb.VerifyFaceResponse.OUTCOME_NOT_VERIFIED,
        liveness=map(from_liveness, verdict.liveness),
    )
    if verdict.spoof:
        answer.outcome = pb.VerifyFaceResponse.OUTCOME_SPOOF
    if verdict.person:
        answer.outcome = pb.VerifyFaceResponse.OUTCOME_VERIFIED
        answer.person.CopyFrom(from_profile(verdict.person))
    if verdict.match:
        match = verdict.match
        answer.distance, answer.threshold = match.distance, match.threshold
        answer.similarity, answer.fmr = match.similarity, match.fmr or 0.0
    return answer
