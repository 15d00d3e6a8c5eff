"""Protos of reco.types.v1 to domain types and back."""

from collections.abc import Callable

import numpy as np
from reco.types.v1 import face_pb2

from services.common.errors import InvalidRequest
from services.common.faces import LANDMARK_NAMES, Box, Face, FaceCrop
from services.common.images import decode, encode_png


def to_box(proto: face_pb2.Box) -> Box:
    """Raises InvalidRequest where a side is not positive or a number not finite."""
    values = (proto.x, proto.y, proto.width, proto.height)
    if not np.isfinite(values).all() or proto.width <= 0 or proto.height <= 0:
        raise InvalidRequest("a box needs finite x and y, and width and height above 0")
    return Box(*values)


def from_box(box: Box) -> face_pb2.Box:
    return face_pb2.Box(x=box.x, y=box.y, width=box.width, height=box.height)


def to_landmarks(proto: face_pb2.Landmarks) -> np.ndarray:
    """float32 (5, 2); raises InvalidRequest where a number is not finite."""
    points = [getattr(proto, name) for name in LANDMARK_NAMES]
    landmarks = np.array([(point.x, point.y) for point in points], dtype=np.float32)
    if not np.isfinite(landmarks).all():
        raise InvalidRequest("landmarks must be finite numbers")
    return landmarks


def from_landmarks(landmarks: np.ndarray) -> face_pb2.Landmarks:
    points = {name: face_pb2.Point(x=x, y=y) for name, (x, y) in zip(LANDMARK_NAMES, landmarks.tolist(), strict=True)}
    return face_pb2.Landmarks(**points)


def from_face(face: Face) -> face_pb2.Face:
    landmarks = from_landmarks(face.landmarks)
    return face_pb2.Face(box=from_box(face.box), landmarks=landmarks, confidence=face.confidence)


def to_crop(proto: face_pb2.FaceCrop) -> FaceCrop:
    """Raises InvalidImage or InvalidRequest where the crop is broken."""
    return FaceCrop(decode(proto.image), to_landmarks(proto.landmarks))


def from_crop(crop: FaceCrop, encode: Callable[[np.ndarray], bytes] = encode_png) -> face_pb2.FaceCrop:
    return face_pb2.FaceCrop(image=encode(crop.pixels), landmarks=from_landmarks(crop.landmarks))
