"""Faces by the API under /v1: pictures as JSON, as forms and over gRPC, through real processes and Envoy."""

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from reco.gateway.v1 import faces_pb2, faces_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from services.gateway.stages.channels import reason_of
from tests.e2e.system import RECOGNISER, System

PERSON = "RECO_ID_000051"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("faces"), SCORE_TOL="5.000", NUM_AUG="0") as system:
        photo = {"name": "a.jpg", "image": encoded(jpeg(astronaut()))}
        body = {"person_id": PERSON, "display_name": "Eileen", "labels": ["crew"], "photos": [photo]}
        assert post(system, "/v1/people", body)["person"]["person_id"] == PERSON
        yield system


@pytest.fixture(scope="module")
def mirrored() -> bytes:
    """Another photo of the person."""
    return jpeg(cv2.flip(astronaut(), 1))


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def post(system: System, path: str, body: dict[str, Any]) -> Any:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://localhost:{system.port}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def refusal(system: System, path: str, body: dict[str, Any]) -> tuple[int, str, list[str]]:
    """HTTP status, reason, and the fields at fault."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(system, path, body)
    info, *more = json.load(refused.value)["details"]
    return refused.value.code, info["reason"], [one["field"] for it in more for one in it["field_violations"]]


def curl(system: System, path: str, *forms: str) -> Any:
    """As people type it."""
    options = [part for form in forms for part in ("-F", form)]
    command = ["curl", "-s", *options, f"localhost:{system.port}{path}"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_detecting(faces: System, mirrored: bytes):
    answer = post(faces, "/v1/faces:detect", {"image": encoded(mirrored)})
    (face,) = answer["faces"]
    box, landmarks = face["place"]["box"], face["place"]["landmarks"]
    assert box["x"] < landmarks["nose"]["x"] < box["x"] + box["width"]
    assert landmarks["left_eye"]["y"] < landmarks["mouth_left"]["y"]
    assert max(map(abs, face["pose"].values())) < 30 and answer["quality"]["score"] > 5
    dark = jpeg((astronaut() * 0.12).astype(np.uint8))
    (face,) = post(faces, "/v1/faces:detect", {"image": encoded(dark)})["faces"]
    assert "too dark or too bright" in face["complaints"]


def test_comparing(faces: System, mirrored: bytes):
    body = {"image": encoded(jpeg(astronaut())), "other_image": encoded(mirrored)}
    (pair,) = post(faces, "/v1/faces:compare", body)["pairs"]
    assert pair["same_person"] and 50 < pair["similarity"] <= 100 and pair["model"] == RECOGNISER
    assert pair["distance"] < pair["threshold"] and 0 < pair["fmr"] < 1e-3
    (pair,) = post(faces, "/v1/faces:compare", {**body, "threshold": pair["distance"] / 2})["pairs"]
    assert not pair["same_person"]


def test_identifying(faces: System, mirrored: bytes):
    answer = post(faces, "/v1/faces:identify", {"image": encoded(mirrored), "labels": ["crew"], "max_fmr": 0.001})
    (face,) = answer["faces"]
    (candidate,) = face["candidates"]
    assert (candidate["person"]["person_id"], face["unknown"]) == (PERSON, False)
    assert candidate["distance"] <= candidate["threshold"] == answer["thresholds"][0]["threshold"]
    assert answer["thresholds"][0]["fmr"] == pytest.approx(0.001)
    (face,) = post(faces, "/v1/faces:identify", {"image": encoded(mirrored), "labels": ["ground"]})["faces"]
    assert face["unknown"] and not face["candidates"]


def test_verifying(faces: System, mirrored: bytes):
    body = {"image": encoded(mirrored), "skip_liveness": True}
    answer = post(faces, f"/v1/people/{PERSON}:verify", body)
    assert (answer["verified"], answer["outcome"]) == (True, "OUTCOME_VERIFIED")
    assert answer["person"]["display_name"] == "Eileen" and answer["fmr"] > 0
    assert refusal(faces, "/v1/people/RECO_ID_000052:verify", body) == (404, "NOT_ENROLLED", [])


def test_forms_as_people_type_them(faces: System, mirrored: bytes, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(mirrored)
    file = f"image=@{tmp_path}/a.jpg"
    (face,) = curl(faces, "/v1/faces:identify", file, "top_k=3")["faces"]
    assert face["candidates"][0]["person"]["person_id"] == PERSON
    assert curl(faces, "/v1/faces:detect", file)["faces"][0]["place"]["box"]["width"] > 0
    assert curl(faces, "/v1/faces:compare", file, f"other_image=@{tmp_path}/a.jpg")["pairs"][0]["distance"] == 0
    assert curl(faces, f"/v1/people/{PERSON}:verify", file, "skip_liveness=true")["verified"]
    added = curl(faces, f"/v1/people/{PERSON}/photos", f"photos=@{tmp_path}/a.jpg")
    assert added["photos"][0]["outcome"] == "OUTCOME_ENROLLED"
    created = curl(faces, "/v1/people", "display_name=Second", f"photos=@{tmp_path}/a.jpg", "on_conflict=REJECT")
    assert created["details"][0]["reason"] == "SIMILAR_PEOPLE"
    refused = curl(faces, "/v1/faces:identify", file, "top_k=many")
    assert refused["details"][1]["field_violations"][0]["field"] == "top_k"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "FIELD_INVALID", ["image"])),
        ({"image": encoded(b"no picture")}, (400, "IMAGE_UNDECODABLE", [])),
        ({"image": encoded(b"x"), "top_k": 1_000_000}, (400, "FIELD_INVALID", ["top_k"])),
        ({"image": encoded(b"x"), "max_fmr": 0.5}, (400, "FIELD_INVALID", ["max_fmr"])),
    ],
)
def test_what_is_refused(faces: System, body: dict[str, Any], expected: tuple[int, str, list[str]]):
    assert refusal(faces, "/v1/faces:identify", body) == expected


def test_over_grpc(faces: System, mirrored: bytes):
    with grpc.insecure_channel(f"localhost:{faces.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = faces_pb2_grpc.FacesServiceStub(channel)
        seen = stub.DetectFaces(faces_pb2.DetectFacesRequest(image=mirrored, check_liveness=False), timeout=60)
        assert len(seen.faces) == 1
        found = stub.IdentifyFaces(faces_pb2.IdentifyFacesRequest(image=mirrored), timeout=60)
        assert found.faces[0].candidates[0].person.person_id == PERSON
        both = faces_pb2.CompareFacesRequest(image=mirrored, other_image=mirrored)
        assert stub.CompareFaces(both, timeout=60).pairs[0].similarity == 100
        claim = faces_pb2.VerifyFaceRequest(person_id=PERSON, image=mirrored, skip_liveness=True)
        assert stub.VerifyFace(claim, timeout=60).verified
        blank = jpeg(np.full((400, 400, 3), 127, np.uint8))
        with pytest.raises(grpc.RpcError) as refused:
            stub.VerifyFace(faces_pb2.VerifyFaceRequest(person_id=PERSON, image=blank), timeout=60)
        assert reason_of(refused.value) == "NO_FACE"
