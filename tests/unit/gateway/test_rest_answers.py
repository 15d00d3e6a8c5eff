"""The REST contract: what the answers hold besides the code, and what stays an error of HTTP."""

import pytest

from services.gateway.api.form_stream import MAX_PARTS
from services.gateway.errors import StorageRefused
from services.gateway.pipeline.people import normalise_name
from services.gateway.pipeline.upload import MAX_PHOTOS
from services.gateway.stages.channels import StageUnavailable
from tests.fakes import FakeFace, fake_photo
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway
from tests.unit.gateway.rest_requests import ANN, BOB, SPOOF, code_of, enroll, enrolled, upload, verify


def test_upload_results(gateway: FakeGateway):
    answer = upload(gateway, ANN, fake_photo(score=1.23456), b"no picture")
    results = answer["upload_results"]
    upload_id = results["upload_id"]
    assert results == {
        "upload_id": upload_id,
        "folder_name": upload_id,
        "random_str": upload_id.rpartition("-")[2],
        "scores": {"p0.jpg": 9.0, "p1.jpg": 1.235},
        "saved": ["p0.jpg"],
        "rejected": ["p1.jpg"],
        "errors": ["p2.jpg"],
        "saved_as": ["001.img"],
    }


def test_upload_results_where_nothing_was_saved(gateway: FakeGateway):
    results = upload(gateway, fake_photo(score=1.0))["upload_results"]
    assert [key for key, value in results.items() if value is None] == [
        "upload_id",
        "folder_name",
        "random_str",
        "saved_as",
    ]
    assert results["rejected"] == ["p0.jpg"]


@pytest.mark.parametrize(("photos", "named"), [(MAX_PHOTOS + 1, MAX_PHOTOS + 1), (MAX_PARTS + 1, 0)])
def test_too_many_photos_are_all_rejected(gateway: FakeGateway, photos: int, named: int):
    answer = upload(gateway, *[ANN] * photos)
    assert code_of(answer) == 120
    results = answer["upload_results"]
    assert results["rejected"] == [f"p{number}.jpg" for number in range(named)]
    assert (results["upload_id"], results["scores"], results["saved"]) == (None, {}, [])
    assert gateway.steps.counts["detector.score"] == 0 and not gateway.uploads.waiting


def test_enrollment_results(gateway: FakeGateway):
    results = enroll(gateway, ANN)["upload_results"]
    assert list(results) == ["mysql_id", "message_pickle", "rebuilt_db", "resulting_imgs"]
    assert results["mysql_id"] == 1
    assert list(results["message_pickle"]["result"]) == list(results["rebuilt_db"]["result"]) == ["message"]
    names = gateway.photos.names(f"ann_lee-{PERSON}")
    images = results["resulting_imgs"]
    assert {**dict.fromkeys(images["main"], False), **dict.fromkeys(images["aug"], True)} == names


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("ronald McDonald", "Ronald McDonald"),
        ("Sinéad  O'Neil", "Sinéad O'Neil"),
        ("SINÉAD O'NEIL", "Sinéad O'neil"),
        ("dwayne_johnson", "Dwayne Johnson"),
        ("de la Cruz-LaRue", "De La Cruz-LaRue"),
        ("(Ann) LaRue, Jr.", "Ann LaRue Jr"),
    ],
)
def test_a_name_keeps_the_capitals_within_its_words(gateway: FakeGateway, given: str, answered: str):
    enroll(gateway, ANN, name=given)
    assert verify(gateway, ANN)["recognition_results"]["name"] == answered
    assert verify(gateway, ANN, skip_verify="true")["recognition_results"]["name"] == answered
    assert gateway.records.rows[1].name == normalise_name(given)
    enroll(gateway, ANN, name=given.lower(), in_place="true")  # says nothing about capitals
    assert verify(gateway, ANN)["recognition_results"]["name"] == answered


def test_whoever_gets_photos_under_another_name_keeps_theirs_and_it_is_said(gateway: FakeGateway):
    enroll(gateway, ANN, name="Ann McLee")
    said = enroll(gateway, ANN, name="Bob Ray")["upload_results"]["message_pickle"]["result"]["message"]
    assert said.endswith(" Photos were added, and the person keeps the name Ann McLee.")
    said = enroll(gateway, ANN, name="ANN MCLEE")["upload_results"]["message_pickle"]["result"]["message"]
    assert "keeps" not in said
    assert verify(gateway, ANN)["recognition_results"]["name"] == "Ann McLee"


def test_upkeep_on_demand(gateway: FakeGateway):
    gateway.photos.caches = {"dlib.pkl", "facenet.pkl"}
    gateway.steps.before("photos.delete_cache", lambda: gateway.photos.caches.discard("facenet.pkl"))
    results = enroll(gateway, ANN, delete_pickles="true", rebuild_db="true")["upload_results"]
    assert results["message_pickle"]["result"].items() >= {"dlib.pkl": 670, "facenet.pkl": 604}.items()
    assert results["rebuilt_db"]["result"]["Dlib"] == 167
    results = enroll(gateway, ANN, delete_pickles="true")["upload_results"]
    assert list(results["message_pickle"]["result"]) == ["message"]
    gateway.steps.clear()
    results = enroll(gateway, ANN, rebuild_db="true")["upload_results"]
    assert list(results["rebuilt_db"]["result"]) == ["message"]
    assert gateway.steps.counts["embedder.rebuild_index"] == 0, "not needed"


def test_recognition_results(gateway: FakeGateway):
    enrolled(gateway)
    answer = verify(gateway, fake_photo(FakeFace("ann", 0.1234567)))
    assert answer["recognition_results"] == {"name": "Ann Lee", "distance": 0.123457}
    assert verify(gateway, BOB)["recognition_results"] == {"name": None, "distance": None}
    assert verify(gateway, SPOOF)["recognition_results"] == {"name": None, "distance": None}


def test_a_refusal_has_no_results(gateway: FakeGateway):
    assert verify(gateway, ANN)["recognition_results"] is None
    assert gateway.upload_db(f"{PERSON}-1")["upload_results"] is None
    assert upload(gateway)["upload_results"] is None


@pytest.mark.parametrize("value", ["true", "True", " TRUE "])
def test_true_is_true_in_any_case(gateway: FakeGateway, value: str):
    assert code_of(verify(enrolled(gateway), SPOOF, skip_liveness=value)) == 200


@pytest.mark.parametrize("value", ["false", "1", "yes", "", "truth"])
def test_all_else_is_false(gateway: FakeGateway, value: str):
    assert code_of(verify(enrolled(gateway), SPOOF, skip_liveness=value)) == 560


# What the contract knows no code for stays an error of HTTP


@pytest.mark.parametrize(
    ("step", "error"),
    [("detector.prepare", StageUnavailable("down")), ("embedder.embed", StageUnavailable("overloaded"))],
)
def test_a_stage_that_is_down_has_no_code(gateway: FakeGateway, step: str, error: Exception):
    gateway.steps.fail(step, error)
    with pytest.raises(StageUnavailable):
        enroll(gateway, ANN)
    gateway.check_agreement()


def test_nor_has_a_full_disk(gateway: FakeGateway):
    gateway.steps.fail("uploads.create", StorageRefused("disk full"))
    with pytest.raises(StorageRefused):
        upload(gateway, ANN)
