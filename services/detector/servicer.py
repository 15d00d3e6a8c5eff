"""reco.detector.v1.DetectorService: proto to domain and back, nothing else."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import grpc
import numpy as np
from reco.detector.v1 import detector_pb2 as pb
from reco.detector.v1 import detector_pb2_grpc
from reco.types.v1 import face_pb2, results_pb2

from services.common.convert import from_box, to_views
from services.common.errors import InvalidRequest
from services.common.faces import LANDMARK_NAMES, Face, FaceCrop
from services.common.workers import Workers
from services.detector.metrics import DetectorMetrics
from services.detector.model import Detector, PreparedFace
from services.detector.mtcnn import DetectOptions, Mode
from services.detector.plausibility import quarter_turns
from services.images.decode import encode_bmp, encode_png

MODES = {
    pb.DetectOptions.MODE_UNSPECIFIED: Mode.FAST,
    pb.DetectOptions.MODE_FAST: Mode.FAST,
    pb.DetectOptions.MODE_FAITHFUL: Mode.FAITHFUL,
}

ENCODERS = {
    pb.PrepareFacesRequest.CROP_FORMAT_UNSPECIFIED: encode_png,
    pb.PrepareFacesRequest.CROP_FORMAT_PNG: encode_png,
    pb.PrepareFacesRequest.CROP_FORMAT_BMP: encode_bmp,
}


class DetectorServicer(detector_pb2_grpc.DetectorServiceServicer):
    """Serves a Detector."""

    def __init__(self, detector: Detector, workers: Workers, metrics: DetectorMetrics | None = None):
        """`workers` do the work: pictures of several callers gain nothing by being batched."""
        self._detector = detector
        self._workers = workers
        self._metrics = metrics or DetectorMetrics()

    def DetectFaces(self, request: pb.DetectFacesRequest, context: grpc.ServicerContext) -> pb.DetectFacesResponse:
        found = self._workers.run(self._detector.detect_faces, request.image, _to_options(request.options))
        self._metrics.found(len(found.faces))
        size = face_pb2.ImageSize(width=found.width, height=found.height)
        return pb.DetectFacesResponse(image_size=size, faces=map(from_face, found.faces))

    def ScoreImage(self, request: pb.ScoreImageRequest, context: grpc.ServicerContext) -> pb.ScoreImageResponse:
        quality = self._workers.run(self._detector.score_image, request.image)
        self._metrics.scored(quality.score)
        components = results_pb2.Quality.Components(**asdict(quality.components))
        return pb.ScoreImageResponse(score=quality.score, components=components)

    def PrepareFaces(self, request: pb.PrepareFacesRequest, context: grpc.ServicerContext) -> pb.PrepareFacesResponse:
        options = _to_options(request.options)
        if request.crop_format not in ENCODERS:
            raise InvalidRequest(f"crop_format {request.crop_format} is not known")
        views = to_views(request.views)
        prepared = self._workers.run(
            self._detector.prepare_faces, request.image, request.width, request.height, request.augmentations, options
        )
        self._metrics.found(len(prepared.faces))
        photo = prepared.photo
        size = face_pb2.ImageSize(width=photo.full_width, height=photo.full_height)
        from_face_crop = partial(from_crop, encode=ENCODERS[request.crop_format])
        faces = [_from_prepared(face, from_face_crop) for face in prepared.faces]
        if views:
            for face, shown in zip(faces, prepared.shown(views), strict=True):
                face.views.extend(pixels.tobytes() for pixels in shown)
        return pb.PrepareFacesResponse(image_size=size, faces=faces)


def _to_options(proto: pb.DetectOptions) -> DetectOptions:
    """Fields that are not set keep their defaults."""
    if proto.mode not in MODES:
        raise InvalidRequest(f"mode {proto.mode} is not known")
    default = DetectOptions()
    return DetectOptions(
        MODES[proto.mode],
        proto.min_face_px or default.min_face_px,
        proto.max_side_px or default.max_side_px,
        proto.min_confidence or default.min_confidence,
    )


def _from_prepared(prepared: PreparedFace, from_face_crop: Callable[[FaceCrop], face_pb2.FaceCrop]) -> pb.PreparedFace:
    return pb.PreparedFace(
        face=from_face(prepared.face),
        crop=from_face_crop(prepared.crop),
        augmented=map(from_face_crop, prepared.augmented),
    )


def from_face(face: Face) -> face_pb2.Face:
    """A face as a message."""
    return face_pb2.Face(
        box=from_box(face.box),
        landmarks=_from_landmarks(face.landmarks),
        confidence=face.confidence,
        quarter_turns=quarter_turns(face.landmarks),
    )


def from_crop(crop: FaceCrop, encode: Callable[[np.ndarray], bytes] = encode_png) -> face_pb2.FaceCrop:
    """A crop as a message; `encode` makes a picture's file of its pixels."""
    return face_pb2.FaceCrop(image=encode(crop.pixels), landmarks=_from_landmarks(crop.landmarks))


def _from_landmarks(landmarks: np.ndarray) -> face_pb2.Landmarks:
    points = {name: face_pb2.Point(x=x, y=y) for name, (x, y) in zip(LANDMARK_NAMES, landmarks.tolist(), strict=True)}
    return face_pb2.Landmarks(**points)
