"""Crops of faces: the pipeline's to protos and back."""

from reco.types.v1 import face_pb2

from services.common.faces import LANDMARK_NAMES
from services.gateway.stages.types import CropFile


def to_crop(proto: face_pb2.FaceCrop) -> CropFile:
    """As it says."""
    return CropFile(proto.image, to_points(proto.landmarks))


def from_crop(crop: CropFile) -> face_pb2.FaceCrop:
    """The other way."""
    points = {name: face_pb2.Point(x=x, y=y) for name, (x, y) in zip(LANDMARK_NAMES, crop.landmarks, strict=True)}
    return face_pb2.FaceCrop(image=crop.image, landmarks=face_pb2.Landmarks(**points))


def to_points(proto: face_pb2.Landmarks) -> tuple[tuple[float, float], ...]:
    """Five (x, y), in the order of LANDMARK_NAMES."""
    points = (getattr(proto, name) for name in LANDMARK_NAMES)
    return tuple((point.x, point.y) for point in points)
