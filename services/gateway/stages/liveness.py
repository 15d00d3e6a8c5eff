"""Calls the liveness check by gRPC; channels.py says how it is reached."""

import grpc
from reco.liveness.v1 import liveness_pb2, liveness_pb2_grpc
from reco.types.v1 import results_pb2

from services.common import convert
from services.common.errors import InvalidImage
from services.common.faces import Verdict, View
from services.gateway.stages.channels import ask
from services.gateway.stages.types import Detection, FaceLiveness

VERDICTS = {
    results_pb2.FaceLiveness.VERDICT_REAL: Verdict.REAL,
    results_pb2.FaceLiveness.VERDICT_SPOOF: Verdict.SPOOF,
}


class LivenessClient:
    """The liveness check; see LivenessStage."""

    def __init__(self, channel: grpc.Channel):
        self._stub = liveness_pb2_grpc.LivenessServiceStub(channel)
        self.views: tuple[View, ...] = ()

    def check(self, found: Detection) -> list[FaceLiveness]:
        request = liveness_pb2.CheckLivenessRequest(
            boxes=[convert.from_box(face.box) for face in found.faces],
            quarter_turns=[face.quarter_turns for face in found.faces],
        )
        if all(face.views for face in found.faces):
            request.image_size.width, request.image_size.height = found.size
            request.views.extend(map(convert.from_view, found.views))
            request.faces.extend(liveness_pb2.FaceViews(views=face.views) for face in found.faces)
        else:
            request.image = found.image
        answer = self._ask(request)
        if not answer.faces:
            request.ClearField("faces")
            request.image = found.image
            answer = ask(self._stub.CheckLiveness, request)
        self.views = tuple(map(convert.to_view, answer.views))
        return [FaceLiveness(VERDICTS.get(face.verdict, Verdict.UNDECIDABLE), face.score) for face in answer.faces]

    def _ask(self, request: liveness_pb2.CheckLivenessRequest) -> liveness_pb2.CheckLivenessResponse:
        """No faces are answered where the model is another by now, and wants other views, or the service is of an earlier
        version, which wants the photo."""
        try:
            return ask(self._stub.CheckLiveness, request)
        except InvalidImage:
            if request.image:
                raise
            return liveness_pb2.CheckLivenessResponse()
