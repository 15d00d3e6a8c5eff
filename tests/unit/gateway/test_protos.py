"""The gateway's API shows messages of reco.types.v1; on the wire and in JSON they are what they were as the stages' own."""

import struct

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from reco.detector.v1 import detector_pb2
from reco.embedder.v1 import embedder_pb2
from reco.gateway.v1 import gateway_pb2, legacy_pb2
from reco.liveness.v1 import liveness_pb2
from reco.types.v1 import results_pb2


def number(field: int, value: float) -> bytes:
    return bytes([field << 3 | 5]) + struct.pack("<f", value)


def whole(field: int, value: int) -> bytes:
    return bytes([field << 3, value])


def nested(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content


COMPONENTS = b"".join(number(field, field / 8) for field in range(1, 6))
SCORE = number(1, 8.5) + nested(2, COMPONENTS)  # detector.v1.ScoreImageResponse
FACE = whole(1, 2) + number(2, 0.25)  # liveness.v1.FaceLiveness
FUSION = whole(1, 1) + number(2, 0.5) + nested(3, b"Dlib") + nested(3, b"ArcFace")  # embedder.v1.Fusion

SCORE_JSON = {
    "score": 8.5,
    "components": {
        "sharpness": 0.125,
        "noise": 0.25,
        "exposure": 0.375,
        "compression": 0.5,
        "resolution": 0.625,
    },
}
FACE_JSON = {"verdict": "VERDICT_SPOOF", "score": 0.25}
FUSION_JSON = {"verified": True, "score": 0.5, "models": ["Dlib", "ArcFace"]}


@pytest.mark.parametrize(
    ("message", "wire", "json"),
    [
        (results_pb2.Quality, SCORE, SCORE_JSON),
        (results_pb2.FaceLiveness, FACE, FACE_JSON),
        (results_pb2.Fusion, FUSION, FUSION_JSON),
        (detector_pb2.ScoreImageResponse, SCORE, SCORE_JSON),
        (liveness_pb2.CheckLivenessResponse, nested(1, FACE), {"faces": [FACE_JSON]}),
        (embedder_pb2.VerifyFacesResponse, nested(5, FUSION), {"fusion": FUSION_JSON}),
        (gateway_pb2.PhotoResult, nested(3, SCORE) + nested(4, b"1"), {"score": SCORE_JSON, "savedAs": "1"}),
        (
            gateway_pb2.VerifyPersonResponse,
            nested(4, FACE) + nested(5, FUSION),
            {"liveness": [FACE_JSON], "fusion": FUSION_JSON},
        ),
    ],
)
def test_what_was_written_before_is_read_and_written_the_same(message: type[Message], wire: bytes, json: dict):
    parsed = message.FromString(wire)
    assert json_format.MessageToDict(parsed) == json
    assert parsed.SerializeToString() == wire


@pytest.mark.parametrize(
    ("name", "value"),
    [("VERDICT_UNSPECIFIED", 0), ("VERDICT_REAL", 1), ("VERDICT_SPOOF", 2), ("VERDICT_UNDECIDABLE", 3)],
)
def test_verdicts_keep_their_numbers(name: str, value: int):
    assert results_pb2.FaceLiveness.Verdict.Value(name) == value


@pytest.mark.parametrize("module", [gateway_pb2, legacy_pb2])
def test_the_gateways_api_shows_no_message_of_a_stage(module):
    imported = [file.name for file in module.DESCRIPTOR.dependencies]
    assert imported and all(name.startswith(("reco/types/", "google/")) for name in imported)
