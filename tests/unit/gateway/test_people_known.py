"""People over the typed API once they are enrolled: listed, changed, parted from photos; and what is refused."""

from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from reco.gateway.v1 import people_pb2 as pb

from services.gateway.pipeline.upload import NamedPhoto
from services.gateway.stages.channels import StageUnavailable
from services.gateway.storage.types import NO_UPLOAD, PersonRecord
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway
from tests.unit.gateway.people_requests import (
    ANN,
    OTHER,
    create,
    delete_photo,
    get,
    listed,
    names,
    photos,
    refusal,
    update,
)

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
    assert gateway.verify(ANN).name == "Eve O'Neil"  # one name by either API
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


def test_a_new_name_does_not_keep_templates_from_being_made(gateway: FakeGateway):
    """Of somebody who has none, as of people whom others have enrolled."""
    create(gateway)
    before = gateway.records.rows[1]
    gateway.embedder.drop_templates()
    update(gateway, display_name="Eve")
    gateway.pipeline.reconciler.embed_missing(gateway.workspace, before)
    gateway.check_agreement()
