"""Verification 1:1 and search 1:N: who is recognised, which faces take part, what is refused."""

import pytest

from services.common.errors import DatabaseRefused, DatabaseUnavailable
from services.common.faces import Verdict, View
from services.gateway.access.attempts import Attempts, TooManyAttempts
from services.gateway.errors import (
    LivenessUnavailable,
    NoFace,
    NotEnrolled,
    NothingToDo,
    PersonFolderMissing,
    UploadUnknown,
)
from services.gateway.pipeline.verify import VerificationOutcome, VerifyOptions
from services.gateway.stages.types import FusedDecision
from services.gateway.storage.types import FacePhoto, PersonRecord
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway, within

OTHER = "RECO_ID_2"
ANN, BOB = fake_photo("ann"), fake_photo("bob")
NEAR = fake_photo(FakeFace("ann", 0.25))
TURNED = fake_photo(FakeFace("ann", 0.6))  # matches the enrolled photo where its angle is halved


@pytest.fixture
def enrolled(gateway: FakeGateway) -> FakeGateway:
    """Ann under PERSON and Bob under OTHER, a photo each, faces as photographed only."""
    gateway.set_env(num_aug=0)
    gateway.enroll(ANN)
    gateway.enroll(BOB, person=OTHER, name="Bob Ray")
    gateway.set_env(num_aug=2)
    gateway.steps.clear()
    return gateway


def outcome(gateway: FakeGateway, *photos: bytes, **options: bool) -> VerificationOutcome:
    return gateway.verify(*photos, **options).outcome


# 1:1


def test_the_answer_is_the_name_and_the_best_distance(enrolled: FakeGateway):
    result = enrolled.verify(NEAR, fake_photo(FakeFace("ann", 0.125)))
    assert result.outcome is VerificationOutcome.VERIFIED
    assert (result.name, result.distance) == ("Ann Lee", 0.125)
    assert [face.verdict for face in result.liveness] == [Verdict.REAL] * 2


def test_so_many_pairs_must_match_or_as_many_as_there_are_faces(enrolled: FakeGateway):
    enrolled.set_env(num_aug=0, ver_tol=2)
    assert outcome(enrolled, NEAR) is VerificationOutcome.VERIFIED
    assert outcome(enrolled, NEAR, TURNED, skip_search=True) is VerificationOutcome.FOUND_NONE
    enrolled.set_env(num_aug=0, ver_tol=1)
    assert outcome(enrolled, NEAR, TURNED) is VerificationOutcome.VERIFIED


def test_augmented_faces_are_compared_where_those_photographed_do_not_suffice(enrolled: FakeGateway):
    assert outcome(enrolled, TURNED, skip_search=True) is VerificationOutcome.VERIFIED
    assert enrolled.steps.counts["detector.augment"] == 1
    enrolled.set_env(ver_tol_aug=3)
    assert outcome(enrolled, TURNED, skip_search=True) is VerificationOutcome.FOUND_NONE


def test_they_are_not_even_made_where_those_suffice_or_none_are_wanted(enrolled: FakeGateway):
    outcome(enrolled, NEAR)
    enrolled.set_env(num_aug=0)
    assert outcome(enrolled, TURNED, skip_search=True) is VerificationOutcome.FOUND_NONE
    assert enrolled.steps.counts["detector.augment"] == 0


@pytest.mark.parametrize("together", [True, False])
def test_models_decide_together_only_where_that_is_asked_for(enrolled: FakeGateway, together: bool):
    photo = TURNED if together else NEAR  # the models say what counting pairs does not
    enrolled.set_env(num_aug=0)
    enrolled.embedder.fusion = FusedDecision(together, 0.5 if together else -0.5, ("A", "B"))
    counted = enrolled.verify(photo, skip_search=True)
    assert (counted.outcome is VerificationOutcome.VERIFIED) is not together
    enrolled.restart(fused=True)
    fused = enrolled.verify(photo, skip_search=True)
    assert (fused.outcome is VerificationOutcome.VERIFIED) is together
    assert counted.fusion == fused.fusion == enrolled.embedder.fusion


def test_what_models_say_together_makes_augmented_faces_needless(enrolled: FakeGateway):
    enrolled.restart(fused=True)
    assert outcome(enrolled, TURNED, skip_search=True) is VerificationOutcome.VERIFIED, (
        "no model was measured: by pairs"
    )
    assert enrolled.steps.counts["detector.augment"] == 1
    enrolled.embedder.fusion = FusedDecision(False, -0.5, ("A", "B"))
    assert outcome(enrolled, TURNED, skip_search=True) is VerificationOutcome.FOUND_NONE
    assert enrolled.steps.counts["detector.augment"] == 1


def test_verifying_takes_nothing_away(enrolled: FakeGateway):
    upload_id = enrolled.upload(NEAR)
    for _ in range(2):
        result = enrolled.pipeline.verifier.verify(enrolled.workspace, upload_id, VerifyOptions())
        assert result.outcome is VerificationOutcome.VERIFIED
    enrolled.pipeline.enroller.enroll(enrolled.workspace, upload_id, "Ann Lee", False)
    enrolled.check_agreement()


# 1:N


def test_whoever_is_not_verified_is_searched_for(enrolled: FakeGateway):
    enrolled.set_env(num_aug=0)
    result = enrolled.verify(NEAR, TURNED)
    assert result.outcome is VerificationOutcome.FOUND_SAME
    assert (result.name, result.distance) == ("Ann Lee", 0.25)
    other = enrolled.verify(BOB)
    assert other.outcome is VerificationOutcome.FOUND_OTHER and (other.name, other.distance) == (None, None)
    assert outcome(enrolled, fake_photo("eve")) is VerificationOutcome.FOUND_NONE


def test_search_alone_and_verification_alone(enrolled: FakeGateway):
    assert outcome(enrolled, NEAR, skip_verify=True) is VerificationOutcome.FOUND_SAME
    assert enrolled.steps.counts["embedder.verify"] == 0
    assert outcome(enrolled, BOB, skip_search=True) is VerificationOutcome.FOUND_NONE
    assert enrolled.steps.counts["embedder.identify"] == 1


def test_search_needs_no_row_of_the_id(enrolled: FakeGateway):
    assert enrolled.verify(ANN, person="RECO_ID_3", skip_verify=True).outcome is VerificationOutcome.FOUND_OTHER


def test_a_photo_enrolled_under_two_ids_hides_neither(enrolled: FakeGateway):
    enrolled.enroll(ANN, person=OTHER)
    for person in (PERSON, OTHER):
        assert enrolled.verify(NEAR, person=person, skip_verify=True).outcome is VerificationOutcome.FOUND_SAME


def test_nobody_is_found_whose_row_was_deleted(enrolled: FakeGateway):
    del enrolled.records.rows[2]
    assert outcome(enrolled, BOB, skip_verify=True) is VerificationOutcome.FOUND_NONE
    assert OTHER not in enrolled.embedder.stored, "the templates without a row are gone"


def test_people_without_templates_are_found(enrolled: FakeGateway):
    enrolled.embedder.drop_templates()
    assert outcome(enrolled, BOB, skip_verify=True) is VerificationOutcome.FOUND_OTHER
    enrolled.check_agreement()


def test_a_search_short_of_time_answers_what_it_has(enrolled: FakeGateway):
    del enrolled.records.rows[2]
    found = within(0.9, lambda: outcome(enrolled, BOB, skip_verify=True))
    assert found is VerificationOutcome.FOUND_NONE
    assert enrolled.steps.counts["embedder.identify"] == 1


# Which faces take part


@pytest.mark.parametrize(
    ("real", "spoofs", "living"), [(1, 0, True), (1, 1, True), (1, 2, False), (2, 2, True), (2, 3, False)]
)
def test_photos_of_an_upload_are_judged_together(enrolled: FakeGateway, real: int, spoofs: int, living: bool):
    """A screen that passes in one photo of many does not get through by them."""
    photos = [fake_photo("ann")] * real + [fake_photo(FakeFace("ann", verdict=Verdict.SPOOF))] * spoofs
    photos.append(fake_photo(FakeFace("ann", verdict=Verdict.UNDECIDABLE)))
    outcome = enrolled.verify(*photos).outcome
    assert outcome is (VerificationOutcome.VERIFIED if living else VerificationOutcome.SPOOF)


def test_spoofed_faces_take_no_part(enrolled: FakeGateway):
    bob = FakeFace("bob", verdict=Verdict.SPOOF)
    assert outcome(enrolled, fake_photo("eve", bob), skip_verify=True) is VerificationOutcome.FOUND_NONE
    assert outcome(enrolled, fake_photo("eve", bob), skip_verify=True, skip_liveness=True) is (
        VerificationOutcome.FOUND_OTHER
    )


@pytest.mark.parametrize("verdict", [Verdict.SPOOF, Verdict.UNDECIDABLE])
def test_where_no_face_is_real_nothing_is_told_of_anybody(enrolled: FakeGateway, verdict: Verdict):
    photo = fake_photo(FakeFace("ann", verdict=verdict))
    result = enrolled.verify(photo, photo)
    assert result.outcome is VerificationOutcome.SPOOF and result.name is None
    assert [face.verdict for face in result.liveness] == [verdict] * 2
    assert (result.match, result.fusion, result.recognised) == (None, None, ())
    assert enrolled.steps.counts["embedder.identify"] == 0


def test_a_face_is_embedded_and_compared_in_one_call(enrolled: FakeGateway):
    assert outcome(enrolled, NEAR) is VerificationOutcome.VERIFIED
    asked = {step: count for step, count in enrolled.steps.counts.items() if step.startswith("embedder.")}
    assert asked == {"embedder.verify": 1}


def test_missing_templates_are_made_and_compared(enrolled: FakeGateway):
    enrolled.embedder.drop_templates()
    assert outcome(enrolled, NEAR, skip_search=True) is VerificationOutcome.VERIFIED
    assert set(enrolled.embedder.stored) == {PERSON}


def test_a_face_that_cannot_be_judged_is_not_let_through(enrolled: FakeGateway):
    ann = FakeFace("ann", verdict=Verdict.UNDECIDABLE)
    result = enrolled.verify(fake_photo(ann), fake_photo("eve"))
    assert result.outcome is VerificationOutcome.FOUND_NONE


def test_liveness_can_be_skipped(enrolled: FakeGateway):
    photo = fake_photo(FakeFace("ann", verdict=Verdict.SPOOF))
    result = enrolled.verify(photo, skip_liveness=True)
    assert result.outcome is VerificationOutcome.VERIFIED and result.liveness == ()
    assert enrolled.steps.counts["liveness.check"] == 0


def test_faces_are_shown_to_liveness_as_it_wants_to_see_them(enrolled: FakeGateway):
    photo = fake_photo("eve", "eve", FakeFace("bob", verdict=Verdict.SPOOF))
    assert [face.verdict for face in enrolled.verify(photo).liveness] == [Verdict.REAL, Verdict.REAL, Verdict.SPOOF]
    before = enrolled.liveness.views
    enrolled.liveness.views = (View(4.0, 128, 120),)
    enrolled.verify(photo)
    assert enrolled.liveness.seen == [before, enrolled.liveness.views]


def test_photos_without_a_face_are_passed_over(enrolled: FakeGateway):
    result = enrolled.verify(fake_photo(), b"put there by hand", NEAR)
    assert result.outcome is VerificationOutcome.VERIFIED and len(result.liveness) == 1


# What is refused, and in which order


def test_no_face_at_all(enrolled: FakeGateway):
    with pytest.raises(NoFace):
        enrolled.verify(fake_photo(), b"no picture")


def test_something_must_be_asked(enrolled: FakeGateway):
    with pytest.raises(NothingToDo):
        enrolled.verify(ANN, skip_verify=True, skip_search=True)


def test_a_consumed_upload(enrolled: FakeGateway):
    (upload_id, *_) = enrolled.uploads.consumed
    with pytest.raises(UploadUnknown):
        enrolled.pipeline.verifier.verify(enrolled.workspace, upload_id, VerifyOptions())


def test_nobody_is_enrolled_under_the_id(gateway: FakeGateway):
    with pytest.raises(NotEnrolled):
        gateway.verify(ANN)
    gateway.steps.fail("records.find", DatabaseRefused("no such column"))
    with pytest.raises(NotEnrolled):
        gateway.verify(ANN)


def test_the_folder_is_gone(enrolled: FakeGateway):
    del enrolled.photos.folders[f"ann_lee-{PERSON}"]
    with pytest.raises(PersonFolderMissing):
        enrolled.verify(ANN)


def test_liveness_comes_before_the_records(enrolled: FakeGateway):
    enrolled.steps.fail("records.find", DatabaseUnavailable("down"))
    enrolled.steps.fail("liveness.check", LivenessUnavailable("no model"))
    with pytest.raises(LivenessUnavailable):
        enrolled.verify(ANN)
    spoof = fake_photo(FakeFace("ann", verdict=Verdict.SPOOF))
    enrolled.steps.before("liveness.check", lambda: None)
    assert outcome(enrolled, spoof) is VerificationOutcome.SPOOF
    with pytest.raises(DatabaseUnavailable):
        enrolled.verify(ANN)


# Whoever is not embedded yet


def test_a_person_of_the_original_is_embedded_when_first_needed(gateway: FakeGateway):
    folder = f"ann_lee-{PERSON}"
    gateway.records.rows[7] = PersonRecord(7, PERSON, "ann_lee", f"I:\\face_reco\\db\\{folder}")
    gateway.photos.folders[folder] = {"1.png": FacePhoto("1.png", False, ANN, None)}
    assert outcome(gateway, NEAR) is VerificationOutcome.VERIFIED
    gateway.check_agreement()


def test_another_version_of_the_model_makes_all_templates_anew(enrolled: FakeGateway):
    enrolled.embedder.version = "2"
    assert outcome(enrolled, NEAR) is VerificationOutcome.VERIFIED
    assert outcome(enrolled, BOB, skip_verify=True) is VerificationOutcome.FOUND_OTHER
    versions = {t.version for one in enrolled.embedder.stored.values() for p in one.values() for t in p.templates}
    assert versions == {"2"}


@pytest.mark.parametrize("options", [{}, {"skip_verify": True}])
def test_an_enrollment_that_was_not_finished_is_finished_first(gateway: FakeGateway, options: dict[str, bool]):
    gateway.steps.fail("embedder.enroll", Killed())
    with pytest.raises(Killed):
        gateway.enroll(ANN)
    gateway.restart()
    found = outcome(gateway, NEAR, **options)
    assert found is (VerificationOutcome.FOUND_SAME if options else VerificationOutcome.VERIFIED)
    gateway.check_agreement()


def test_an_id_cannot_be_claimed_too_often(enrolled: FakeGateway):
    """By whatever photos and options: each answer tells a distance. An upload that does not exist claims nobody."""
    enrolled.restart(attempts=Attempts(3, lambda: 0.0))
    for _ in range(5):
        with pytest.raises(UploadUnknown):
            enrolled.pipeline.verifier.verify(enrolled.workspace, f"{PERSON}-1", VerifyOptions())
    assert [outcome(enrolled, photo) for photo in (ANN, BOB)] == [
        VerificationOutcome.VERIFIED,
        VerificationOutcome.FOUND_OTHER,
    ]
    enrolled.verify(ANN, skip_verify=True)
    with pytest.raises(TooManyAttempts):
        enrolled.verify(ANN)
    assert enrolled.verify(BOB, person=OTHER).outcome is VerificationOutcome.VERIFIED


@pytest.mark.parametrize("photos", [1, 4, 200])
def test_of_crowds_the_surest_faces_of_every_photo_take_part(enrolled: FakeGateway, photos: int):
    crowd = ["ann", *[f"stranger {number}" for number in range(319)]]
    result = enrolled.verify(*[fake_photo(*crowd, score=number) for number in range(photos)], skip_verify=True)
    assert result.outcome is VerificationOutcome.FOUND_SAME
    assert len(result.liveness) == 256 // photos * photos


def test_a_turned_face_is_checked_the_way_it_is_turned(enrolled: FakeGateway):
    result = enrolled.verify(fake_photo("ann", FakeFace("ann", quarter_turns=2)))
    assert [face.verdict for face in result.liveness] == [Verdict.REAL] * 2
