"""People by the API under /v1: real processes, Envoy, photos; over HTTP and gRPC, on SQLite and MariaDB."""

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc, info_pb2, info_pb2_grpc, people_pb2, people_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from services.gateway.stages.channels import reason_of
from tests.e2e.api import Api, files
from tests.e2e.system import RECOGNISER, System
from tests.machine import ROOT

PNG = b"\x89PNG\r\n\x1a\n"


def person_path(person_id: str, *parts: str) -> str:
    return "/".join(("/v1/people", person_id, *parts))


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = {} if request.param == "sqlite" else request.getfixturevalue("mariadb").settings
    with System(tmp_path_factory.mktemp("people"), SCORE_TOL="5.000", NUM_AUG="1", **settings) as system:
        yield Api(system)


@pytest.fixture(scope="module")
def portrait() -> bytes:
    return jpeg(astronaut())


@pytest.fixture(scope="module")
def mirrored() -> bytes:
    """Another photo of the same person."""
    return jpeg(cv2.flip(astronaut(), 1))


def test_a_life_over_http(api: Api, portrait: bytes, mirrored: bytes):
    created = api.create("", portrait, b"no picture", labels=["staff"], external_id="e-1", request_id="life")
    person = created["person"]
    person_id = person["person_id"]
    assert re.fullmatch(r"RECO_ID_\d+", person_id) and person["display_name"] == "Ann McLee"
    outcomes = [photo["outcome"] for photo in created["photos"]]
    assert outcomes == ["OUTCOME_ENROLLED", "OUTCOME_UNDECODABLE"]
    again = api.create("", portrait, b"no picture", labels=["staff"], external_id="e-1", request_id="life")
    assert again["person"] == person
    assert api.get(person_path(person_id)) == person
    assert api.get("/v1/people?name_prefix=ann&label=staff&created_after=2020-01-01T00:00:00Z")["people"] == [person]

    status, added = api.ask("POST", person_path(person_id, "photos"), {"photos": files(mirrored)})
    assert (status, added["photos"][0]["outcome"]) == (200, "OUTCOME_ENROLLED")
    photos = api.get(person_path(person_id, "photos"))["photos"]
    assert len(photos) == 2 and all(photo["source"] == "SOURCE_PEOPLE" for photo in photos)
    path = person_path(person_id, "photos", photos[0]["photo_id"])
    assert api.get(path) == photos[0] and 5 <= photos[0]["quality"]["score"] <= 10
    assert api.get(f"{path}:image").startswith(PNG)

    status, changed = api.ask("PATCH", person_path(person_id) + "?update_mask=labels,display_name", {
        "labels": ["gone"], "display_name": "Eve O'Neil", "external_id": "unmasked",
    })  # fmt: skip
    assert (status, changed["labels"], changed["external_id"]) == (200, ["gone"], "e-1")
    probe = api.system.client.upload(person_id, {"a.jpg": portrait})["upload_results"]["upload_id"]
    verified = api.system.client.verify(probe, skip_liveness=True)
    assert verified["recognition_code"] == 200 and verified["recognition_results"]["name"] == "Eve O'Neil"

    assert api.ask("DELETE", path) == (200, {"person_deleted": False})
    assert [photo["photo_id"] for photo in api.get(person_path(person_id, "photos"))["photos"]] == [
        photos[1]["photo_id"]
    ]
    last = person_path(person_id, "photos", photos[1]["photo_id"])
    assert api.refusal("DELETE", last) == (400, "LAST_PHOTO", [])
    assert api.ask("DELETE", f"{last}?delete_person=true") == (200, {"person_deleted": True})
    assert api.refusal("GET", person_path(person_id)) == (404, "NOT_ENROLLED", [])
    assert not list(api.system.images.glob(f"*-{person_id}"))


def test_a_life_over_grpc(api: Api, portrait: bytes, mirrored: bytes):
    pb, person_id = people_pb2, "RECO_ID_31"
    with grpc.insecure_channel(f"localhost:{api.system.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = people_pb2_grpc.PeopleServiceStub(channel)
        image, other = pb.PhotoFile(name="a", image=portrait), pb.PhotoFile(name="b", image=mirrored)
        request = pb.CreatePersonRequest(person_id=person_id, display_name="Zoë", photos=[image])
        created = stub.CreatePerson(request, timeout=60)
        assert created.person == stub.GetPerson(pb.GetPersonRequest(person_id=person_id), timeout=60)
        assert created.person in stub.ListPeople(pb.ListPeopleRequest(name_prefix="ZO"), timeout=60).people
        added = stub.AddPhotos(pb.AddPhotosRequest(person_id=person_id, photos=[other]), timeout=60)
        photos = stub.ListPhotos(pb.ListPhotosRequest(person_id=person_id), timeout=60).photos
        assert {one.photo_id for one in photos} == {
            created.photos[0].photo.photo_id,
            added.photos[0].photo.photo_id,
        }
        named = {"person_id": person_id, "photo_id": photos[0].photo_id}
        assert stub.GetPhoto(pb.GetPhotoRequest(**named), timeout=60) == photos[0]
        assert stub.GetPhotoImage(pb.GetPhotoImageRequest(**named), timeout=60).data.startswith(PNG)
        wanted = pb.Person(person_id=person_id, labels=["a"])
        update = pb.UpdatePersonRequest(person=wanted, update_mask=FieldMask(paths=["labels"]))
        assert stub.UpdatePerson(update, timeout=60).labels == ["a"]
        assert not stub.DeletePhoto(pb.DeletePhotoRequest(**named), timeout=60).person_deleted
        with pytest.raises(grpc.RpcError) as refused:
            stub.DeletePhoto(pb.DeletePhotoRequest(**named), timeout=60)
        assert (refused.value.code(), reason_of(refused.value)) == (grpc.StatusCode.NOT_FOUND, "PHOTO_UNKNOWN")
        erase = gateway_pb2.DeletePersonRequest(person_id=person_id)
        assert gateway_pb2_grpc.GatewayServiceStub(channel).DeletePerson(erase, timeout=60).existed
        info = info_pb2_grpc.InfoServiceStub(channel).GetInfo(info_pb2.GetInfoRequest(), timeout=60)
        assert [model.name for model in info.models] == [RECOGNISER]


def test_who_is_here_already_is_told_or_refused(api: Api, portrait: bytes, mirrored: bytes):
    api.create("RECO_ID_41", portrait)
    told = api.create("RECO_ID_42", mirrored)["similar_people"]
    assert [one["person"]["person_id"] for one in told] == ["RECO_ID_41"]
    assert 0 <= told[0]["distance"] <= told[0]["threshold"]
    body = {"person_id": "RECO_ID_43", "display_name": "A", "photos": files(portrait), "on_conflict": "REJECT"}
    assert api.refusal("POST", "/v1/people", body) == (409, "SIMILAR_PEOPLE", [])
    assert api.refusal("GET", "/v1/people/RECO_ID_43")[0] == 404
    for person_id in ("RECO_ID_41", "RECO_ID_42"):
        assert api.ask("DELETE", f"/v1/people/{person_id}") == (200, {"existed": True})


def test_people_of_the_contract_are_here_too(api: Api, portrait: bytes):
    client = api.system.client
    upload_id = client.upload("RECO_ID_51", {"a.jpg": portrait})["upload_results"]["upload_id"]
    assert client.upload_db(upload_id, "ann lee")["result_code"] == 800
    assert api.get("/v1/people/RECO_ID_51")["display_name"] == "Ann Lee"
    assert [one["person_id"] for one in api.get("/v1/people?name_prefix=Ann%20Le")["people"]] == ["RECO_ID_51"]
    (photo,) = api.get("/v1/people/RECO_ID_51/photos")["photos"]
    assert photo["source"] == "SOURCE_UPLOAD" and photo["quality"]["score"] >= 5
    api.ask("DELETE", "/v1/people/RECO_ID_51")


@pytest.mark.parametrize(
    ("method", "path", "body", "refused"),
    [
        ("GET", "/v1/people?page_size=1000000", None, (400, "FIELD_INVALID", ["page_size"])),
        ("GET", "/v1/people?page_token=abc", None, (400, "PAGE_TOKEN_INVALID", ["page_token"])),
        ("GET", "/v1/people/RECO_ID_999", None, (404, "NOT_ENROLLED", [])),
        ("GET", "/v1/people/nobody", None, (400, "PERSON_ID_INVALID", ["person_id"])),
        ("GET", "/v1/people/a%2F..%2Fb", None, (400, "PERSON_ID_INVALID", ["person_id"])),
        ("GET", "/v1/people/RECO_ID_999/photos", None, (404, "NOT_ENROLLED", [])),
        ("GET", "/v1/people/RECO_ID_999/photos/x:image", None, (404, "NOT_ENROLLED", [])),
        ("DELETE", "/v1/people/RECO_ID_999/photos/x", None, (404, "NOT_ENROLLED", [])),
        ("PATCH", "/v1/people/RECO_ID_999", {"labels": ["a"]}, (404, "NOT_ENROLLED", [])),
        ("PATCH", "/v1/people/RECO_ID_999?update_mask=path", {}, (400, "MASK_INVALID", ["update_mask"])),
        ("POST", "/v1/people", {"display_name": "A"}, (400, "NO_PHOTOS", ["photos"])),
        ("POST", "/v1/people", {"display_name": "A", "photos": [{}]}, (400, "NO_USABLE_PHOTO", ["photos[0]"])),
        ("POST", "/v1/people", {"photos": [{}]}, (400, "NAME_INVALID", ["display_name"])),
        ("POST", "/v1/people", {"person_id": "x", "display_name": "A"}, (400, "PERSON_ID_INVALID", ["person_id"])),
        ("POST", "/v1/people/RECO_ID_999/photos", {"photos": [{}]}, (404, "NOT_ENROLLED", [])),
    ],
)
def test_what_is_refused(api: Api, method: str, path: str, body: object, refused: tuple[int, str, list[str]]):
    before = api.get("/v1/people")
    assert api.refusal(method, path, body) == refused
    assert api.get("/v1/people") == before


def test_a_picture_without_a_face_enrolls_nobody(api: Api):
    landscape = jpeg(astronaut()[:150, 350:500])
    body = {"person_id": "RECO_ID_61", "display_name": "A", "photos": files(landscape)}
    assert api.refusal("POST", "/v1/people", body) == (400, "NO_USABLE_PHOTO", ["photos[0]"])
    assert api.refusal("GET", "/v1/people/RECO_ID_61")[0] == 404
    assert not list((api.system.images / ".staging").glob("*"))


def test_who_is_enrolled_twice_is_told_and_made_one(api: Api, portrait: bytes, mirrored: bytes):
    api.create("RECO_ID_71", portrait, labels=["a"])
    api.create("RECO_ID_72", mirrored, labels=["b"], name="Ann M")
    (pair,) = api.get("/v1/people:conflicts")["conflicts"]
    assert (pair["person"]["person_id"], pair["other"]["person_id"]) == ("RECO_ID_72", "RECO_ID_71")
    assert 0 <= pair["distance"] <= pair["threshold"] and pair["similarity"] >= 50 and pair["model"] == RECOGNISER
    same = api.refusal("POST", "/v1/people/RECO_ID_71:merge", {"other_person_id": "RECO_ID_71"})
    assert same == (400, "FIELD_INVALID", ["other_person_id"])
    status, merged = api.ask("POST", "/v1/people/RECO_ID_71:merge", {"other_person_id": "RECO_ID_72"})
    assert (status, merged["labels"], merged["display_name"]) == (200, ["a", "b"], "Ann McLee")
    photos = api.get("/v1/people/RECO_ID_71/photos")["photos"]
    assert len(photos) == 2
    for photo in photos:
        assert api.get(f"/v1/people/RECO_ID_71/photos/{photo['photo_id']}:image").startswith(PNG)
    assert api.refusal("GET", "/v1/people/RECO_ID_72")[:2] == (404, "NOT_ENROLLED")
    assert api.get("/v1/people:conflicts")["conflicts"] == []
    assert api.ask("DELETE", "/v1/people/RECO_ID_71")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/people", 405),
        ("POST", "/v1/people/RECO_ID_1", 405),
        ("PATCH", "/v1/people/RECO_ID_1/photos/x", 405),
        ("GET", "/v1/people/RECO_ID_1/photos/x/y", 404),
        ("GET", "/v1/persons", 404),
        *((method, "/v1/people/RECO_ID_1:verify", 405) for method in ("GET", "DELETE", "PATCH")),
        ("GET", "/v1/people/RECO_ID_1:other", 405),
        ("GET", "/v1/people/RECO_ID_1/photos/x:verify", 405),
        ("POST", "/v1/people/RECO_ID_1/photos:verify", 404),
        ("POST", "/v1/people/a:b:verify", 405),
        ("POST", "/v1/faces:other", 405),
    ],
)
def test_methods_and_paths_that_there_are_not(api: Api, method: str, path: str, status: int):
    assert api.ask(method, path)[0] == status


def test_what_is_no_json_or_too_large_is_refused(api: Api):
    assert api.ask("POST", "/v1/people", "no object")[0] == 400
    assert api.ask("POST", "/v1/people", {"photos": [{"image": "not base64!"}]})[0] == 400
    for method, path, size in (("POST", "/v1/people", 9 << 20), ("PATCH", "/v1/people/RECO_ID_1", 1 << 17)):
        connection = http.client.HTTPConnection("localhost", api.system.port, timeout=10)
        connection.putrequest(method, path)
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(size))
        connection.endheaders()
        assert connection.getresponse().status == 413, "before the body comes"


def answers_of(api: Api, page: str, folder: Path) -> list[Any]:
    """What the lines of a document answer, as they stand there, but for the port."""
    (lines,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = lines.replace("localhost:8001", f"localhost:{api.system.port}").replace("curl -s", "curl -sf -w '\\n'")
    script = script.replace("$(curl -sf -w '\\n'", "$(curl -sf")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.decode().splitlines() if line]


@pytest.fixture
def newcomer(portrait: bytes, mirrored: bytes, tmp_path: Path) -> Path:
    """A folder with two photos of one person."""
    (tmp_path / "ann.jpg").write_bytes(portrait)
    (tmp_path / "two.jpg").write_bytes(mirrored)
    return tmp_path


def test_the_first_lines_of_all(api: Api, newcomer: Path):
    ready, created, identified, verified, erased = answers_of(
        api, (ROOT / "docs" / "quickstart.md").read_text(), newcomer
    )
    assert ready["ready"] and created["photos"][0]["outcome"] == "OUTCOME_ENROLLED"
    assert identified["faces"][0]["candidates"][0]["person"] == created["person"]
    assert verified["verified"] and erased == {"existed": True}


def test_a_newcomers_lines(api: Api, newcomer: Path):
    page = (ROOT / "docs" / "api.md").read_text()
    answers = answers_of(api, page[: page.index("\n## People")], newcomer)
    info, created, listed, person, changed, added, deleted, erased = answers
    assert info["version"] and created["person"] == person == listed["people"][0]
    assert changed["labels"] == ["berlin", "staff"] and added["photos"][0]["outcome"] == "OUTCOME_ENROLLED"
    assert (deleted, erased) == ({"person_deleted": False}, {"existed": True})
    assert (newcomer / "face.png").read_bytes().startswith(PNG)
