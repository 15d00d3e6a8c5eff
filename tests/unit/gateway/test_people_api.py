"""People over the typed API: enrolled, listed, changed, parted from photos; and what is refused, with nothing half done."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from reco.gateway.v1 import people_pb2 as pb

from services.common.errors import RecoError
from services.common.interceptor import status_of
from services.gateway.errors import StorageRefused
from services.gateway.pipeline.upload import NamedPhoto
from services.gateway.stages.channels import StageUnavailable
from services.gateway.storage.types import NO_UPLOAD, PersonRecord
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway

ANN = fake_photo("ann")
OTHER = "RECO_ID_2"
OUTCOME = pb.PhotoReport


def create(gateway: FakeGateway, *images: bytes, person_id: str = PERSON, name: str = "Ann McLee", **fields):
    """Photos of Ann if none are given."""
    photos = [pb.PhotoFile(name=f"{number}.jpg", image=image) for number, image in enumerate(images or (ANN,))]
    request = pb.CreatePersonRequest(person_id=person_id, display_name=name, photos=photos, **fields)
    return gateway.people_api.CreatePerson(request, CONTEXT)


def add(gateway: FakeGateway, *images: bytes, person_id: str = PERSON, request_id: str = "") -> pb.AddPhotosResponse:
    photos = [pb.PhotoFile(name="a", image=image) for image in images]
    request = pb.AddPhotosRequest(person_id=person_id, photos=photos, request_id=request_id)
    return gateway.people_api.AddPhotos(request, CONTEXT)


def update(gateway: FakeGateway, *mask: str, person_id: str = PERSON, **fields) -> pb.Person:
    person = pb.Person(person_id=person_id, **fields)
    request = pb.UpdatePersonRequest(person=person, update_mask=FieldMask(paths=mask))
    return gateway.people_api.UpdatePerson(request, CONTEXT)


def get(gateway: FakeGateway, person_id: str = PERSON) -> pb.Person:
    return gateway.people_api.GetPerson(pb.GetPersonRequest(person_id=person_id), CONTEXT)


def photos(gateway: FakeGateway, person_id: str = PERSON) -> list[pb.EnrolledPhoto]:
    return list(gateway.people_api.ListPhotos(pb.ListPhotosRequest(person_id=person_id), CONTEXT).photos)


def delete_photo(gateway: FakeGateway, photo_id: str, delete_person: bool = False) -> bool:
    request = pb.DeletePhotoRequest(person_id=PERSON, photo_id=photo_id, delete_person=delete_person)
    return bool(gateway.people_api.DeletePhoto(request, CONTEXT).person_deleted)


def listed(gateway: FakeGateway, **fields) -> pb.ListPeopleResponse:
    return gateway.people_api.ListPeople(pb.ListPeopleRequest(**fields), CONTEXT)


def names(gateway: FakeGateway, **fields) -> list[str]:
    return [person.display_name for person in listed(gateway, **fields).people]


def refusal(call: Callable[[], object]) -> tuple[str, str, list[str]]:
    """Status, reason, and the fields that are at fault, as a client sees them."""
    with pytest.raises(RecoError) as refused:
        call()
    details = [any_.TypeName().rpartition(".")[2] for any_ in status_of(refused.value).details]
    fields = [field for field, _ in refused.value.violations]
    assert details == (["ErrorInfo", "BadRequest"] if fields else ["ErrorInfo"])
    return refused.value.status, refused.value.reason, fields


# enrolling


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
    assert gateway.verify(ANN).name == "Ann Mclee"  # the contract's capitals
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


# reading


def test_people_of_the_contract_are_people(gateway: FakeGateway):
    """Also those whose rows and photos were there before anything else."""
    gateway.enroll(ANN, name="ann lee")
    row = PersonRecord(7, "RECO_ID_7", "bob_smith", "/db/bob_smith-RECO_ID_7")
    gateway.records.rows[7] = row
    gateway.photos.folders[row.folder] = dict(gateway.photos.folders[f"ann_lee-{PERSON}"])
    assert names(gateway) == ["Ann Lee", "Bob Smith"]
    assert names(gateway, name_prefix="bob") == ["Bob Smith"]
    assert get(gateway, "RECO_ID_7").display_name == "Bob Smith"
    assert not get(gateway, "RECO_ID_7").HasField("create_time")
    (photo,) = photos(gateway, "RECO_ID_7")
    assert photo.source == pb.EnrolledPhoto.SOURCE_UNSPECIFIED and not photo.HasField("quality")
    assert update(gateway, "labels", person_id="RECO_ID_7", labels=["x"]).labels == ["x"]
    assert names(gateway, label="x") == ["Bob Smith"]


def test_a_photo_of_an_upload_tells_so_and_its_quality(gateway: FakeGateway):
    result = gateway.pipeline.uploader.upload(gateway.workspace, PERSON, [NamedPhoto("a", ANN)])
    assert result.upload
    gateway.pipeline.enroller.enroll(gateway.workspace, result.upload.upload_id, "Ann", in_place=False)
    (photo,) = photos(gateway)
    assert (photo.source, photo.quality.score) == (pb.EnrolledPhoto.SOURCE_UPLOAD, 9.0)
    assert photo.HasField("create_time")


def test_a_name_that_was_changed_elsewhere_counts(gateway: FakeGateway):
    """In the table itself, or by the contract's in_place; what else is known stays."""
    create(gateway, labels=["a"])
    names(gateway)
    gateway.records.rows[1] = replace(gateway.records.rows[1], name="eve_miller")
    assert get(gateway).display_name == "Eve Miller" and names(gateway) == ["Eve Miller"]
    gateway.restart()
    assert names(gateway, name_prefix="eve") == ["Eve Miller"]
    gateway.enroll(ANN, name="Bob", in_place=True)
    assert get(gateway).display_name == "Bob" and get(gateway).labels == ["a"]
    assert len(gateway.people.facts[1]) == 1


def test_rows_that_were_deleted_elsewhere_are_nobody(gateway: FakeGateway):
    create(gateway)
    create(gateway, fake_photo("bob"), person_id=OTHER, name="Bob")
    del gateway.records.rows[1]
    assert names(gateway) == ["Bob"] and set(gateway.people.profiles) == {2}
    gateway.records.rows[2] = PersonRecord(2, "RECO_ID_9", "bob", "/db/x")  # the number has gone to somebody else
    gateway.restart()
    assert [person.person_id for person in listed(gateway).people] == ["RECO_ID_9"]
    assert refusal(lambda: get(gateway, OTHER)) == ("NOT_FOUND", "NOT_ENROLLED", [])


def test_pages_follow_each_other(gateway: FakeGateway):
    for number in range(1, 6):
        create(gateway, fake_photo(str(number)), person_id=f"RECO_ID_{number}", name=f"P {6 - number}")
    for wanted in ({}, {"name_prefix": "p"}, {"created_after": Timestamp(seconds=1)}):
        token, pages = "", []
        while True:
            page = listed(gateway, page_size=2, page_token=token, **wanted)
            pages.append([person.display_name for person in page.people])
            token = page.next_page_token
            if not token:
                break
        assert [len(page) for page in pages] == [2, 2, 1]
        everybody = [name for page in pages for name in page]
        assert everybody == sorted(everybody, reverse="name_prefix" not in wanted)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"page_size": 1_000_000}, "page_size"),
        ({"page_size": 201}, "page_size"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "xxx"}, "page_token"),
        ({"page_token": "bnVsbA=="}, "page_token"),
        ({"page_token": "[" * 9000}, "page_token"),
        ({"page_token": "ü"}, "page_token"),
        ({"name_prefix": "x" * 256}, "name_prefix"),
        ({"label": "x" * 256}, "label"),
        ({"created_after": Timestamp(seconds=-1)}, "created_after"),
        ({"created_before": Timestamp(seconds=1 << 62)}, "created_before"),
    ],
)
def test_lists_that_cannot_be_asked_for(gateway: FakeGateway, fields: dict, wrong: str):
    status, _, violations = refusal(lambda: listed(gateway, **fields))
    assert (status, violations) == ("INVALID_ARGUMENT", [wrong])


def test_a_token_is_of_its_list_alone(gateway: FakeGateway):
    for number in (1, 2):
        create(gateway, person_id=f"RECO_ID_{number}")
    token = listed(gateway, page_size=1).next_page_token
    assert refusal(lambda: listed(gateway, page_size=1, page_token=token, label="x"))[1:] == (
        "PAGE_TOKEN_INVALID",
        ["page_token"],
    )
    assert len(listed(gateway, page_size=2, page_token=token).people) == 1  # of another size it may be


def test_a_photo_and_its_picture(gateway: FakeGateway):
    photo = create(gateway).photos[0].photo
    named = {"person_id": PERSON, "photo_id": photo.photo_id}
    assert gateway.people_api.GetPhoto(pb.GetPhotoRequest(**named), CONTEXT) == photo
    image = gateway.people_api.GetPhotoImage(pb.GetPhotoImageRequest(**named), CONTEXT)
    assert image.content_type == "image/png" and image.data == fake_photo(FakeFace("ann"))


@pytest.mark.parametrize("photo_id", ["", "x", "../x", "{}-aug01", "{}.png", "{}\x00"])
def test_photos_that_there_are_not(gateway: FakeGateway, photo_id: str):
    """Nor are those that were made of others, which cannot be had alone."""
    photo_id = photo_id.format(create(gateway).photos[0].photo.photo_id)
    named = {"person_id": PERSON, "photo_id": photo_id}
    unknown = ("NOT_FOUND", "PHOTO_UNKNOWN", [])
    assert refusal(lambda: gateway.people_api.GetPhoto(pb.GetPhotoRequest(**named), CONTEXT)) == unknown
    assert refusal(lambda: gateway.people_api.GetPhotoImage(pb.GetPhotoImageRequest(**named), CONTEXT)) == unknown
    assert refusal(lambda: delete_photo(gateway, photo_id, delete_person=True)) == unknown


# changing


def test_what_is_known_is_changed_as_the_mask_says(gateway: FakeGateway):
    created = create(gateway, labels=["a"], external_id="x").person
    assert update(gateway, "labels", labels=["b"], display_name="Eve").display_name == "Ann McLee"
    changed = update(gateway, display_name="Eve  O'Neil")
    assert (changed.display_name, changed.external_id, list(changed.labels)) == ("Eve O'Neil", "x", ["b"])
    assert changed == get(gateway) and changed.create_time == created.create_time
    assert gateway.verify(ANN).name == "Eve O'neil"  # one name by either API
    emptied = update(gateway, "*", display_name="Eve")
    assert (emptied.display_name, emptied.external_id, list(emptied.labels)) == ("Eve", "", [])
    assert names(gateway, label="b") == []
    gateway.check_agreement()


def test_changes_that_are_refused(gateway: FakeGateway):
    assert refusal(lambda: update(gateway, display_name="x")) == ("NOT_FOUND", "NOT_ENROLLED", [])
    create(gateway)
    for mask in (["person_id"], ["labels", "create_time"], ["*", "labels"], [""]):
        assert refusal(lambda mask=mask: update(gateway, *mask, labels=["a"]))[1:] == ("MASK_INVALID", ["update_mask"])
    assert refusal(lambda: update(gateway, "display_name"))[1:] == ("NAME_INVALID", ["person.display_name"])
    assert refusal(lambda: update(gateway, labels=["a", ""]))[1:] == ("FIELD_INVALID", ["person.labels[1]"])
    assert refusal(lambda: update(gateway, person_id="x", labels=["a"]))[1:] == ("PERSON_ID_INVALID", ["person_id"])
    assert (get(gateway).display_name, list(get(gateway).labels)) == ("Ann McLee", [])


# parting from photos


def test_a_photo_goes_with_all_that_was_made_of_it(gateway: FakeGateway):
    first, second = create(gateway, ANN, fake_photo(FakeFace("ann", 0.1))).photos
    embedded = gateway.embedder.embedded
    assert not delete_photo(gateway, first.photo.photo_id)
    assert photos(gateway) == [second.photo] and len(gateway.people.facts[1]) == 1
    assert gateway.embedder.embedded == embedded, "what stays is not embedded anew"
    gateway.check_agreement()
    assert refusal(lambda: delete_photo(gateway, first.photo.photo_id)) == ("NOT_FOUND", "PHOTO_UNKNOWN", [])


def test_the_last_photo_goes_with_the_person_alone(gateway: FakeGateway):
    (photo,) = create(gateway).photos
    assert refusal(lambda: delete_photo(gateway, photo.photo.photo_id)) == ("FAILED_PRECONDITION", "LAST_PHOTO", [])
    assert photos(gateway)
    assert delete_photo(gateway, photo.photo.photo_id, delete_person=True)
    assert not gateway.records.rows and not gateway.people.profiles and not gateway.people.facts
    gateway.check_agreement()


@pytest.mark.parametrize("step", ["photos.publish", "photos.remove", "embedder.enroll", "records.delete_entry"])
def test_a_deletion_that_is_interrupted_is_finished(gateway: FakeGateway, step: str):
    first, second = create(gateway, ANN, fake_photo(FakeFace("ann", 0.1))).photos
    gateway.steps.fail(step, Killed())
    with pytest.raises(Killed):
        delete_photo(gateway, first.photo.photo_id)
    gateway.restart()
    assert photos(gateway) == [second.photo]  # whoever reads first finishes it
    gateway.check_agreement()


def test_a_deletion_while_a_stage_is_away_is_told_and_finished_later(gateway: FakeGateway):
    first, second = create(gateway, ANN, fake_photo(FakeFace("ann", 0.1))).photos
    gateway.steps.fail("embedder.enroll", StageUnavailable("away"))
    assert refusal(lambda: delete_photo(gateway, first.photo.photo_id))[0] == "UNAVAILABLE"
    assert next(iter(gateway.records.entries.values())).upload_id == NO_UPLOAD
    gateway.steps.clear()
    gateway.pipeline.reconciler.finish_all(gateway.workspace)
    assert photos(gateway) == [second.photo]
    gateway.check_agreement()
