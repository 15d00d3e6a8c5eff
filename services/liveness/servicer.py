"""reco.liveness.v1.LivenessService: proto to domain and back, nothing else."""

from collections.abc import Sequence

import grpc
import numpy as np
from reco.liveness.v1 import liveness_pb2 as pb
from reco.liveness.v1 import liveness_pb2_grpc
from reco.types.v1 import results_pb2

from services.common.convert import from_view, to_box, to_views
from services.common.errors import InvalidRequest
from services.common.faces import Box, Verdict
from services.common.workers import Workers
from services.liveness.metrics import LivenessMetrics
from services.liveness.minifasnet import Liveness
from services.liveness.model import LivenessModels, ShownFaces, check_photo, check_shown, views_of

MAX_BOXES = 256

VERDICTS = {
    Verdict.REAL: results_pb2.FaceLiveness.VERDICT_REAL,
    Verdict.SPOOF: results_pb2.FaceLiveness.VERDICT_SPOOF,
    Verdict.UNDECIDABLE: results_pb2.FaceLiveness.VERDICT_UNDECIDABLE,
}


class LivenessServicer(liveness_pb2_grpc.LivenessServiceServicer):
    """Serves the liveness model that `.env` names."""

    def __init__(self, models: LivenessModels, workers: Workers, metrics: LivenessMetrics | None = None):
        """`workers` do the work: faces of several callers gain nothing by being batched."""
        self._models = models
        self._workers = workers
        self._metrics = metrics or LivenessMetrics()

    def CheckLiveness(
        self, request: pb.CheckLivenessRequest, context: grpc.ServicerContext
    ) -> pb.CheckLivenessResponse:
        if not 1 <= len(request.boxes) <= MAX_BOXES:
            raise InvalidRequest(f"boxes: 1 to {MAX_BOXES} are needed")
        boxes = [to_box(box) for box in request.boxes]
        turns = tuple(request.quarter_turns)
        if turns and (len(turns) != len(boxes) or not set(turns) <= {0, 1, 2, 3}):
            raise InvalidRequest("quarter_turns: none, or 0 to 3 for each box, are needed")
        shown = _to_shown(request, boxes) if request.faces else None
        model = self._models.current()
        faces = self._workers.run(check_shown, model, shown) if shown else []
        if not faces and (request.image or not shown):
            faces = self._workers.run(check_photo, model, request.image, boxes, turns)
        self._metrics.judged(faces)
        return pb.CheckLivenessResponse(
            faces=map(_from_liveness, faces),
            model=f"{model.name} {model.version}",
            threshold=model.threshold,
            views=map(from_view, views_of(model)),
        )


def _to_shown(request: pb.CheckLivenessRequest, boxes: Sequence[Box]) -> ShownFaces:
    """Raises InvalidRequest where views are missing, or not of their size."""
    views = to_views(request.views)
    sizes = [3 * view.side**2 for view in views]
    if len(request.faces) != len(boxes) or any([*map(len, face.views)] != sizes for face in request.faces):
        raise InvalidRequest("faces: a square of pixels in each of `views` is needed for each box")
    size = request.image_size
    if min(size.width, size.height) < 1:
        raise InvalidRequest("image_size: that of the photo is needed")
    pictures = [
        np.frombuffer(b"".join(face.views[number] for face in request.faces), np.uint8).reshape(
            -1, view.side, view.side, 3
        )
        for number, view in enumerate(views)
    ]
    return ShownFaces(size.width, size.height, boxes, views, pictures)


def _from_liveness(face: Liveness) -> results_pb2.FaceLiveness:
    return results_pb2.FaceLiveness(verdict=VERDICTS[face.verdict], score=face.score)
