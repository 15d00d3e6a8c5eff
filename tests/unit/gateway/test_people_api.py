"""People are enrolled over the typed API: in one call, once, all or nothing; and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from reco.gateway.v1 import people_pb2 as pb

from services.common.errors import RecoError
from services.gateway.errors import StorageRefused
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway
from tests.unit.gateway.people_requests import ANN, OTHER, add, create, get, photos, refusal

OUTCOME = pb.PhotoReport


def test_a_person_is_enrolled_by_photos_in_one_call(gateway: FakeGateway):
    answer = create(gateway, ANN, fake_photo(FakeFace("ann", 0.1)), labels=["b", " a ", "b"], external_id=" x ")
    person = answer.person
    assert (person.person_id, person.display_name, person.external_id) == (PERSON, "Ann McLee", "x")
    assert list(person.labels) == ["a", "b"] and person.create_time == person.update_time
    assert [report.outcome for report in answer.photos] == [OUTCOME.OUTCOME_ENROLLED] * 2
    assert [report.name for report in answer.photos] == ["0.jpg", "1.jpg"]
    assert [report.photo for report in answer.photos] == photos(gateway)
    assert answer.photos[0].quality.score == answer.photos[0].photo.quality.score == 9.0
    assert {photo.source for photo in photos(gateway)} == {pb.EnrolledPhoto.SOURCE_PEOPLE}
    assert get(gateway) == person and not answer.similar_people
    assert gateway.verify(ANN).name == "Ann McLee"  # one name by either API
    gateway.check_agreement()
    assert not gateway.uploads.waiting.keys() - {f"{PERSON}-1001"}  # that verification's


def test_an_id_is_made_that_fits(gateway: FakeGateway):
    first, second = (create(gateway, person_id="").person.person_id for _ in range(2))
    assert first != second and first.startswith("RECO_ID_") and first[8:].isdigit()
    gateway.set_env(id_regex="[A-Z]{3}")
    assert refusal(lambda: create(gateway, person_id="")) == ("INVALID_ARGUMENT", "PERSON_ID_INVALID", ["person_id"])


def test_photos_that_do_not_do_are_told_and_not_kept(gateway: FakeGateway):
    images = (b"no picture", fake_photo("ann", score=1.0), fake_photo(), fake_photo("ann", "bob"), ANN, b"")
    answer = create(gateway, *images)
    assert [report.outcome for report in answer.photos] == [
        OUTCOME.OUTCOME_UNDECODABLE,
        OUTCOME.OUTCOME_LOW_QUALITY,
        OUTCOME.OUTCOME_NO_FACE,
        OUTCOME.OUTCOME_SEVERAL_FACES,
        OUTCOME.OUTCOME_ENROLLED,
        OUTCOME.OUTCOME_UNDECODABLE,
    ]
    assert [report.HasField("photo") for report in answer.photos] == [False] * 4 + [True, False]
    assert answer.photos[1].quality.score == 1.0 and not answer.photos[0].HasField("quality")
    assert len(photos(gateway)) == 1
    gateway.check_agreement()


@pytest.mark.parametrize(
    ("fields", "reason", "wrong"),
    [
        ({"person_id": "nonsense"}, "PERSON_ID_INVALID", ["person_id"]),
        ({"person_id": "RECO_ID_1/../2"}, "PERSON_ID_INVALID", ["person_id"]),
        ({"name": ""}, "NAME_INVALID", ["display_name"]),
        ({"name": " _ !"}, "NAME_INVALID", ["display_name"]),
        ({"name": "x" * 121}, "NAME_INVALID", ["display_name"]),
        ({"name": "Ann\x00Lee"}, "FIELD_INVALID", ["display_name"]),
        ({"labels": ["a", " "]}, "FIELD_INVALID", ["labels[1]"]),
        ({"labels": ["a"] * 33}, "FIELD_INVALID", ["labels"]),
        ({"labels": ["a" * 65]}, "FIELD_INVALID", ["labels[0]"]),
        ({"external_id": "x" * 121}, "FIELD_INVALID", ["external_id"]),
        ({"external_id": "a\nb"}, "FIELD_INVALID", ["external_id"]),
        ({"request_id": "x" * 65}, "FIELD_INVALID", ["request_id"]),
        ({"request_id": "ü"}, "FIELD_INVALID", ["request_id"]),
        ({"on_conflict": "reject"}, "FIELD_INVALID", ["on_conflict"]),
    ],
)
def test_what_does_not_fit_is_named_and_costs_nothing(gateway: FakeGateway, fields: dict, reason: str, wrong: list):
    assert refusal(lambda: create(gateway, **fields)) == ("INVALID_ARGUMENT", reason, wrong)
    assert not gateway.steps.counts["detector.score"] and not gateway.records.rows


def test_without_a_photo_that_does_nobody_is_enrolled(gateway: FakeGateway):
    request = pb.CreatePersonRequest(person_id=PERSON, display_name="Ann")
    no_photos = refusal(lambda: gateway.people_api.CreatePerson(request, CONTEXT))
    assert no_photos == ("INVALID_ARGUMENT", "NO_PHOTOS", ["photos"])
    assert refusal(lambda: create(gateway, *[ANN] * 201)) == ("INVALID_ARGUMENT", "TOO_MANY_PHOTOS", ["photos"])
    refused = refusal(lambda: create(gateway, b"", fake_photo()))
    assert refused == ("INVALID_ARGUMENT", "NO_USABLE_PHOTO", ["photos[0]", "photos[1]"])
    assert not gateway.records.rows and not gateway.photos.folders and not gateway.people.profiles
    gateway.check_agreement()


def test_who_is_enrolled_is_not_enrolled_again(gateway: FakeGateway):
    gateway.enroll(ANN)
    assert refusal(lambda: create(gateway)) == ("ALREADY_EXISTS", "PERSON_EXISTS", [])
    assert len(photos(gateway)) == 1
    gateway.check_agreement()


def test_the_same_request_again_enrolls_nobody_twice(gateway: FakeGateway):
    first = create(gateway, ANN, fake_photo(), request_id="r-1")
    gateway.restart()
    again = create(gateway, ANN, fake_photo(), request_id="r-1")
    assert again.person == first.person and not gateway.steps.counts["detector.score"]
    assert [report.photo for report in again.photos] == [first.photos[0].photo]
    refused = refusal(lambda: create(gateway, ANN, name="Bob", request_id="r-1"))
    assert refused == ("INVALID_ARGUMENT", "REQUEST_ID_USED", ["request_id"])
    assert len(gateway.records.rows) == 1


def test_the_same_request_twice_at_once(gateway: FakeGateway):
    """Without an ID: both make the same."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: create(gateway, person_id="", request_id="r-1"), range(4)))
    assert len({answer.person.person_id for answer in answers}) == len(gateway.records.rows) == 1
    gateway.check_agreement()


def test_after_an_erasure_a_request_can_be_repeated(gateway: FakeGateway):
    create(gateway, request_id="r-1")
    gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert not gateway.people.profiles and not gateway.people.facts
    assert create(gateway, request_id="r-1").person.person_id == PERSON


def test_somebody_who_is_there_under_another_id_is_told(gateway: FakeGateway):
    create(gateway, name="Ann McLee")
    near = fake_photo(FakeFace("ann", 0.25))
    told = create(gateway, near, person_id=OTHER).similar_people
    assert [(one.person.person_id, one.person.display_name, one.distance) for one in told] == [
        (PERSON, "Ann McLee", 0.25)
    ]
    refused = refusal(lambda: create(gateway, near, person_id="RECO_ID_3", on_conflict="REJECT"))
    assert refused == ("ALREADY_EXISTS", "SIMILAR_PEOPLE", [])
    assert not create(gateway, fake_photo("bob"), person_id="RECO_ID_3", on_conflict="REJECT").similar_people
    assert len(gateway.records.rows) == 3
    gateway.check_agreement()


@pytest.mark.parametrize("step", ["photos.stage", "records.commit"])
def test_what_fails_before_the_commit_leaves_nothing(gateway: FakeGateway, step: str):
    gateway.steps.fail(step, OSError("no room") if step == "photos.stage" else StorageRefused("no room"))
    with pytest.raises(RecoError):
        create(gateway)
    gateway.restart()
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    assert not gateway.records.rows and not gateway.people.profiles
    gateway.check_agreement()


@pytest.mark.parametrize("step", ["photos.publish", "embedder.enroll", "records.delete_entry"])
def test_a_process_that_dies_after_the_commit_leaves_a_person(gateway: FakeGateway, step: str):
    gateway.steps.fail(step, Killed())
    with pytest.raises(Killed):
        create(gateway, request_id="r-1")
    gateway.restart()
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    assert get(gateway).display_name == "Ann McLee" and len(photos(gateway)) == 1
    assert create(gateway, request_id="r-1").person == get(gateway)
    gateway.check_agreement()


def test_photos_are_added(gateway: FakeGateway):
    create(gateway)
    reports = add(gateway, fake_photo(FakeFace("ann", 0.1)), b"", request_id="r").photos
    assert [report.outcome for report in reports] == [OUTCOME.OUTCOME_ENROLLED, OUTCOME.OUTCOME_UNDECODABLE]
    assert len(photos(gateway)) == 2 and get(gateway).update_time.nanos != get(gateway).create_time.nanos
    again = add(gateway, fake_photo(FakeFace("ann", 0.1)), b"", request_id="r").photos
    assert [report.photo for report in again] == [reports[0].photo] and len(photos(gateway)) == 2
    gateway.check_agreement()


def test_photos_are_not_added_to_nobody(gateway: FakeGateway):
    assert refusal(lambda: add(gateway, ANN)) == ("NOT_FOUND", "NOT_ENROLLED", [])
    assert refusal(lambda: add(gateway, ANN, person_id="x"))[1:] == ("PERSON_ID_INVALID", ["person_id"])
    create(gateway)
    assert refusal(lambda: add(gateway, fake_photo()))[1:] == ("NO_USABLE_PHOTO", ["photos[0]"])
    assert refusal(lambda: add(gateway))[1:] == ("NO_PHOTOS", ["photos"])
    assert len(photos(gateway)) == 1
