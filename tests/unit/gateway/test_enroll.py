"""Enrollment: all at once or not at all, whoever else enrolls and wherever the process dies."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from services.common.errors import DatabaseRefused, DatabaseUnavailable
from services.gateway.errors import (
    Busy,
    ErasureIncomplete,
    InvalidName,
    InvalidPersonId,
    NoSingleFace,
    NotEnrolled,
    RecordRefused,
    UploadUnknown,
)
from services.gateway.pipeline.enroll import EnrollmentOutcome
from services.gateway.pipeline.verify import VerificationOutcome
from services.gateway.stages.channels import StageUnavailable
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway, within

ANN = fake_photo("ann")
LATER = fake_photo(FakeFace("ann", 0.1))


def test_a_person_is_enrolled(gateway: FakeGateway):
    result = gateway.enroll(ANN, LATER, name="Ann  LEE")
    assert result.outcome is EnrollmentOutcome.CREATED
    assert result.record == gateway.records.rows[1]
    assert (result.record.person_id, result.record.name) == (PERSON, "ann_lee")
    assert result.record.path == f"/db/ann_lee-{PERSON}"
    stored = gateway.photos.names(f"ann_lee-{PERSON}")
    assert [name for name, augmented in stored.items() if not augmented] == list(result.photos)
    assert [name for name, augmented in stored.items() if augmented] == list(result.augmented)
    assert (len(result.photos), len(result.augmented)) == (2, 4)
    assert gateway.uploads.consumed and not gateway.uploads.waiting
    gateway.check_agreement()


def test_without_augmentation_the_faces_alone_are_stored(gateway: FakeGateway):
    gateway.set_env(num_aug=0)
    result = gateway.enroll(ANN)
    assert (len(result.photos), len(result.augmented)) == (1, 0)
    gateway.check_agreement()


def test_in_place_of_nobody_is_a_new_person(gateway: FakeGateway):
    assert gateway.enroll(ANN, in_place=True).outcome is EnrollmentOutcome.CREATED


def test_adding_keeps_name_folder_photos_and_templates(gateway: FakeGateway):
    first = gateway.enroll(ANN)
    before = dict(gateway.embedder.stored[PERSON])
    second = gateway.enroll(LATER, name="Another Name")
    assert second.outcome is EnrollmentOutcome.ADDED and second.record == first.record
    assert set(gateway.photos.names(first.record.folder)) == {
        *first.photos,
        *first.augmented,
        *second.photos,
        *second.augmented,
    }
    assert before.items() <= gateway.embedder.stored[PERSON].items()
    assert gateway.embedder.embedded == 6, "no template is made twice"
    gateway.check_agreement()


@pytest.mark.parametrize("name", ["Ann Lee", "Ann Miller"])
def test_replacing_leaves_nothing_of_the_earlier_photos(gateway: FakeGateway, name: str):
    first = gateway.enroll(ANN)
    second = gateway.enroll(LATER, name=name, in_place=True)
    assert second.outcome is EnrollmentOutcome.REPLACED
    assert second.record.record_id == first.record.record_id
    assert second.record.name == name.lower().replace(" ", "_")
    assert set(gateway.photos.names(second.record.folder)) == {*second.photos, *second.augmented}
    gateway.check_agreement()


def test_photos_without_exactly_one_face_are_left_out(gateway: FakeGateway):
    result = gateway.enroll(fake_photo(), ANN, fake_photo("ann", "bob"), b"no picture")
    assert len(result.photos) == 1
    gateway.check_agreement()


def test_an_upload_without_such_a_photo_can_be_tried_again(gateway: FakeGateway):
    with pytest.raises(NoSingleFace):
        gateway.enroll(fake_photo("ann", "bob"), fake_photo())
    assert gateway.uploads.waiting and not gateway.photos.staging and not gateway.records.rows


def test_photos_of_a_row_that_was_deleted_by_hand_do_not_come_back(gateway: FakeGateway):
    gateway.enroll(fake_photo("bob"))
    gateway.records.rows.clear()
    gateway.enroll(ANN)
    assert gateway.verify(fake_photo("bob"), skip_search=True).outcome is VerificationOutcome.FOUND_NONE
    gateway.check_agreement()


def test_adding_to_somebody_without_templates_makes_those_too(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.embedder.drop_templates()
    gateway.enroll(LATER)
    assert len(gateway.embedder.stored[PERSON]) == 6
    gateway.check_agreement()


@pytest.mark.parametrize("upload_id", ["", "nobody-1", "../x-1", f"{PERSON}x-1"])
def test_an_upload_must_name_a_valid_id(gateway: FakeGateway, upload_id: str):
    with pytest.raises(InvalidPersonId):
        gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann", False)


def test_a_name_must_hold_a_word(gateway: FakeGateway):
    with pytest.raises(InvalidName):
        gateway.enroll(ANN, name="../..")
    assert gateway.uploads.waiting


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("records.commit", DatabaseRefused("value too long")),
        ("photos.stage", OSError("disk full")),
        ("records.find", DatabaseRefused("no such column")),
    ],
)
def test_what_cannot_be_written_leaves_nothing_and_can_be_tried_again(
    gateway: FakeGateway, step: str, error: Exception
):
    upload_id = gateway.upload(ANN)
    gateway.steps.fail(step, error)
    for _ in range(2):
        with pytest.raises(RecordRefused):
            gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", False)
        gateway.check_agreement()
    gateway.steps.clear()
    gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", False)
    gateway.check_agreement()


# What is committed is enrolled


@pytest.mark.parametrize("step", ["photos.publish", "embedder.enroll", "uploads.consume", "records.delete_entry"])
def test_what_fails_after_the_commit_is_done_later(gateway: FakeGateway, step: str):
    gateway.steps.fail(step, StageUnavailable("down") if step == "embedder.enroll" else OSError("disk full"))
    assert gateway.enroll(ANN).outcome is EnrollmentOutcome.CREATED
    assert gateway.records.entries
    gateway.steps.clear()
    gateway.pipeline.reconciler.finish_enrollments(gateway.workspace)
    gateway.check_agreement()
    assert not gateway.uploads.waiting


BEFORE_COMMIT = ["detector.prepare", "embedder.embed", "photos.stage", "records.commit"]
AFTER_COMMIT = ["photos.publish", "embedder.enroll", "uploads.consume", "records.delete_entry"]
KILLS = [(step, kind) for step in (*BEFORE_COMMIT, *AFTER_COMMIT) for kind in ("created", "added", "replaced")]


@pytest.mark.parametrize(("step", "kind"), [*KILLS, ("photos.remove", "replaced")])
def test_a_process_that_dies_leaves_the_old_state_or_the_new(gateway: FakeGateway, step: str, kind: str):
    if kind != "created":
        gateway.enroll(ANN)
    before = set(gateway.embedder.stored.get(PERSON, {}))
    upload_id = gateway.upload(LATER)
    gateway.steps.fail(step, Killed())
    with pytest.raises(Killed):
        gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", kind == "replaced")
    gateway.restart()
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    gateway.check_agreement()
    after = set(gateway.embedder.stored.get(PERSON, {}))
    if step not in BEFORE_COMMIT:
        assert upload_id in gateway.uploads.consumed
        assert len(after - before) == 3 and (before & after) == (before if kind == "added" else set())
    else:
        assert after == before
        gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", kind == "replaced")
        gateway.check_agreement()


def test_what_was_just_written_is_not_read(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.enroll(LATER)
    assert not {"photos.read", "photos.read_one"} & set(gateway.steps.counts)
    gateway.check_agreement()


def test_the_next_request_about_a_person_finishes_their_enrollment(gateway: FakeGateway):
    gateway.steps.fail("photos.publish", Killed())
    with pytest.raises(Killed):
        gateway.enroll(ANN)
    gateway.restart()
    assert gateway.enroll(LATER).outcome is EnrollmentOutcome.ADDED
    assert len(gateway.embedder.stored[PERSON]) == 6
    gateway.check_agreement()


def test_a_commit_of_which_nothing_is_known_is_left_to_reconciliation(gateway: FakeGateway):
    gateway.steps.fail("records.commit", DatabaseUnavailable("connection lost"))
    with pytest.raises(DatabaseUnavailable):
        gateway.enroll(ANN)
    assert gateway.photos.staging, "perhaps it was committed"
    gateway.steps.clear()
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    gateway.check_agreement()


# Several at once


def test_enrollments_of_one_person_come_out_as_if_one_had_come_after_the_other(gateway: FakeGateway):
    uploads = [gateway.upload(fake_photo(FakeFace("ann", number / 100))) for number in range(12)]

    def enroll(upload_id: str) -> EnrollmentOutcome:
        return gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", False).outcome

    with ThreadPoolExecutor(len(uploads)) as clients:
        outcomes = list(clients.map(enroll, uploads))
    assert sorted(outcomes, key=str) == [EnrollmentOutcome.ADDED] * 11 + [EnrollmentOutcome.CREATED]
    assert len(gateway.embedder.stored[PERSON]) == 12 * 3
    gateway.check_agreement()


def test_one_upload_is_enrolled_once(gateway: FakeGateway):
    upload_id = gateway.upload(ANN)

    def enroll(_: int) -> bool:
        try:
            gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", False)
        except UploadUnknown:
            return False
        return True

    with ThreadPoolExecutor(8) as clients:
        assert sum(clients.map(enroll, range(8))) == 1
    assert len(gateway.embedder.stored[PERSON]) == 3
    gateway.check_agreement()


def test_a_person_is_locked_for_others_no_longer_than_they_can_wait(gateway: FakeGateway):
    with gateway.workspace.lock(PERSON):
        with pytest.raises(Busy):
            within(1.0, lambda: gateway.enroll(ANN))
        assert gateway.enroll(ANN, person="RECO_ID_2").outcome is EnrollmentOutcome.CREATED
    assert gateway.enroll(ANN).outcome is EnrollmentOutcome.CREATED


# Erasing


def test_a_person_is_erased(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.enroll(fake_photo("bob"), person="RECO_ID_2")
    gateway.upload(ANN)
    other = gateway.upload(ANN, person="RECO_ID_2")
    gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert list(gateway.embedder.stored) == ["RECO_ID_2"] and list(gateway.uploads.waiting) == [other]
    gateway.check_agreement()
    with pytest.raises(NotEnrolled):
        gateway.pipeline.enroller.delete(gateway.workspace, PERSON)


def test_a_person_whose_enrollment_is_not_finished_is_erased_whole(gateway: FakeGateway):
    gateway.steps.fail("photos.publish", Killed())
    with pytest.raises(Killed):
        gateway.enroll(ANN)
    gateway.restart()
    gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert not gateway.photos.folders and not gateway.records.rows and not gateway.uploads.consumed
    gateway.check_agreement()


def test_what_is_left_of_a_person_without_a_row_is_erased_too(gateway: FakeGateway):
    gateway.set_env(id_regex=".*")
    gateway.enroll(ANN)
    gateway.enroll(fake_photo("bob"), person=f"X-{PERSON}")
    del gateway.records.rows[1]
    with pytest.raises(NotEnrolled):
        gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert list(gateway.embedder.stored) == [f"X-{PERSON}"] and len(gateway.uploads.consumed) == 1
    gateway.check_agreement()


ERASING = ["records.erase", "embedder.remove", "photos.erase", "uploads.erase", "records.delete_entry", "records.purge"]


@pytest.mark.parametrize("step", ERASING)
@pytest.mark.parametrize("finisher", ["start", "enroll", "delete"])
def test_a_process_that_dies_leaves_the_person_as_before_or_erased(gateway: FakeGateway, step: str, finisher: str):
    gateway.enroll(ANN)
    upload_id = gateway.upload(ANN)
    gateway.steps.fail(step, Killed())
    with pytest.raises(Killed):
        gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    gateway.restart()
    if step == "records.erase":
        gateway.pipeline.reconciler.clean_up(gateway.workspace)
        assert (
            gateway.records.rows and upload_id in gateway.uploads.waiting and len(gateway.embedder.stored[PERSON]) == 3
        )
        return gateway.check_agreement()
    if finisher == "start":
        gateway.pipeline.reconciler.clean_up(gateway.workspace)
    elif finisher == "enroll":
        later = gateway.upload(fake_photo("bob"))
        gateway.uploads.stored_at[later] += 60  # the client has waited
        gateway.pipeline.enroller.enroll(gateway.workspace, later, "Bob", False)
        assert gateway.verify(ANN).outcome is VerificationOutcome.FOUND_NONE
        return gateway.check_agreement()
    else:
        with suppress(NotEnrolled):
            gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert not gateway.records.rows and not gateway.embedder.stored and not gateway.photos.folders
    assert upload_id not in gateway.uploads.waiting and not gateway.uploads.consumed
    assert gateway.records.purged
    return gateway.check_agreement()


@pytest.mark.parametrize("step", ["embedder.remove", "photos.erase", "uploads.erase"])
def test_what_cannot_be_deleted_is_named_and_deleted_later(gateway: FakeGateway, step: str):
    gateway.enroll(ANN)
    gateway.steps.fail(step, OSError("stuck"))
    with pytest.raises(ErasureIncomplete, match="stuck"):
        gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert not gateway.records.rows, "the person is gone all the same"
    left = [bool(kept) for kept in (gateway.embedder.stored, gateway.photos.folders, gateway.uploads.consumed)]
    assert left.count(True) == 1, "all else is deleted"
    with pytest.raises(ErasureIncomplete):  # the new photos would mix with the old
        gateway.enroll(fake_photo("bob"))
    assert gateway.enroll(ANN, person="RECO_ID_2").outcome is EnrollmentOutcome.CREATED
    found = gateway.verify(fake_photo("bob"), person="RECO_ID_2", skip_verify=True)
    assert found.outcome is VerificationOutcome.FOUND_NONE, "others are searched"
    gateway.steps.clear()
    gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    gateway.check_agreement()


def test_an_erasure_that_is_stuck_keeps_nobody_else_waiting(gateway: FakeGateway):
    for person in (PERSON, "RECO_ID_2"):
        gateway.enroll(ANN, person=person)
    gateway.steps.fail("photos.erase", OSError("stuck"))
    for person in (PERSON, "RECO_ID_2"):
        with pytest.raises(ErasureIncomplete):
            gateway.pipeline.enroller.delete(gateway.workspace, person)
    gateway.steps.clear()
    failures = iter([OSError("stuck"), None])

    def fail_once() -> None:
        if error := next(failures):
            raise error

    gateway.steps.before("photos.erase", fail_once)
    with pytest.raises(ErasureIncomplete):
        gateway.pipeline.reconciler.finish_all(gateway.workspace)
    assert [entry.person_id for entry in gateway.records.entries.values()] == [PERSON]


def test_who_is_erased_while_templates_are_made_does_not_come_back(gateway: FakeGateway):
    gateway.enroll(ANN)
    (record,) = gateway.records.rows.values()
    gateway.steps.fail("photos.erase", OSError("stuck"))
    with pytest.raises(ErasureIncomplete):
        gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    gateway.pipeline.reconciler.embed_missing(gateway.workspace, record)
    assert not gateway.embedder.stored
