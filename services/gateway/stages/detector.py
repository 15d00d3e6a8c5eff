"""Calls the detector by gRPC; channels.py says how it is reached."""

import grpc
from reco.detector.v1 import detector_pb2, detector_pb2_grpc

from services.common import convert
from services.common.faces import View
from services.gateway.stages.channels import ask
from services.gateway.stages.crops import to_crop, to_points
from services.gateway.stages.types import Detection, FoundFace, PhotoQuality

#: The format of crops that only the next stage reads.
NOT_TO_BE_STORED = detector_pb2.PrepareFacesRequest.CROP_FORMAT_BMP

SCORE_IMAGE = "/reco.detector.v1.DetectorService/ScoreImage"


class DetectorClient:
    """The detector; see DetectorStage."""

    def __init__(self, channel: grpc.Channel):
        self._stub = detector_pb2_grpc.DetectorServiceStub(channel)
        self._score: grpc.UnaryUnaryMultiCallable[bytes, detector_pb2.ScoreImageResponse] = channel.unary_unary(
            SCORE_IMAGE, _score_request, detector_pb2.ScoreImageResponse.FromString
        )

    def score(self, image: bytes) -> PhotoQuality:
        answer = ask(self._score, image)
        names = [field.name for field in answer.components.DESCRIPTOR.fields]
        return PhotoQuality(answer.score, {name: getattr(answer.components, name) for name in names})

    def detect(self, image: bytes, size: tuple[int, int], views: tuple[View, ...] = ()) -> Detection:
        request = _prepare_request(image, size)
        request.crop_format = NOT_TO_BE_STORED
        request.views.extend(map(convert.from_view, views))
        answer = self._prepare(request)
        faces = tuple(_to_face(face) for face in answer.faces)
        return Detection(faces, image, (answer.image_size.width, answer.image_size.height), views)

    def prepare(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[FoundFace]:
        request = _prepare_request(image, size)
        request.augmentations = augmentations
        return [_to_face(face) for face in self._prepare(request).faces]

    def augment(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[FoundFace]:
        request = _prepare_request(image, size)
        request.augmentations, request.crop_format = augmentations, NOT_TO_BE_STORED
        return [_to_face(face) for face in self._prepare(request).faces]

    def _prepare(self, request: detector_pb2.PrepareFacesRequest) -> detector_pb2.PrepareFacesResponse:
        return ask(self._stub.PrepareFaces, request)


def _score_request(image: bytes) -> bytes:
    """A ScoreImageRequest on the wire: field 1, of a length, in sevens of bits, and the bytes.

    Made by hand, since protobuf makes two copies on the way; photos are large.
    """
    head, length = [0x0A], len(image)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return b"".join((bytes(head), bytes([length]), image))


def _prepare_request(image: bytes, size: tuple[int, int]) -> detector_pb2.PrepareFacesRequest:
    width, height = size
    return detector_pb2.PrepareFacesRequest(image=image, width=width, height=height)


def _to_face(proto: detector_pb2.PreparedFace) -> FoundFace:
    augmented = tuple(to_crop(crop) for crop in proto.augmented)
    face, landmarks = proto.face, to_points(proto.face.landmarks)
    return FoundFace(
        convert.to_box(face.box),
        to_crop(proto.crop),
        augmented,
        face.quarter_turns,
        landmarks,
        face.confidence,
        tuple(proto.views),
    )
