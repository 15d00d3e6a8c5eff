"""Who is enrolled twice is told, and made one person: all at once or not at all."""

from typing import Any

import pytest
from reco.gateway.v1 import people_pb2 as pb

from services.common.errors import DatabaseRefused, DatabaseUnavailable
from services.gateway.pipeline.verify import VerificationOutcome
from services.gateway.storage.types import FacePhoto
from tests.fakes import LANDMARKS, FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway
from tests.unit.gateway.people_requests import ANN, OTHER, create, get, photos, refusal

NEAR = fake_photo(FakeFace("ann", 0.25))


def conflicts(gateway: FakeGateway, **fields: Any) -> pb.ListConflictsResponse:
    return gateway.people_api.ListConflicts(pb.ListConflictsRequest(**fields), CONTEXT)


def pairs(gateway: FakeGateway, **fields: Any) -> list[tuple[str, str]]:
    return [(one.person.person_id, one.other.person_id) for one in conflicts(gateway, **fields).conflicts]


def merge(gateway: FakeGateway, person_id: str = PERSON, other_id: str = OTHER) -> pb.Person:
    request = pb.MergePersonRequest(person_id=person_id, other_person_id=other_id)
    return gateway.people_api.MergePerson(request, CONTEXT)


@pytest.fixture
def twice(gateway: FakeGateway) -> FakeGateway:
    """Ann under two IDs, with augmented photos."""
    gateway.set_env(num_aug=2)
    create(gateway, ANN, labels=["staff"])
    create(gateway, NEAR, fake_photo(FakeFace("ann", 0.3)), person_id=OTHER, labels=["berlin"], external_id="x-2")
    return gateway


# Conflicts


def test_who_matches_somebody_enrolled_before_is_told_once(twice: FakeGateway):
    create(twice, fake_photo("bob"), person_id="RECO_ID_3", name="Bob")
    (one,) = conflicts(twice).conflicts
    assert (one.person, one.other) == (get(twice, OTHER), get(twice, PERSON))
    assert one.distance == pytest.approx(0.25) and one.threshold == pytest.approx(0.4)
    assert one.similarity > 50 and one.model == "Fake" and one.fmr == pytest.approx(1e-4)
    assert not conflicts(twice).next_page_token


def test_pages_lead_through_all(gateway: FakeGateway):
    for number in range(1, 121):
        create(gateway, fake_photo(f"{number % 80:02d}"), person_id=f"RECO_ID_{number}")
    everybody = conflicts(gateway, page_size=200)
    first = conflicts(gateway, page_size=1)
    assert first.conflicts and first.next_page_token
    found, token = list(first.conflicts), first.next_page_token
    while token:
        page = conflicts(gateway, page_size=1, page_token=token)
        found, token = [*found, *page.conflicts], page.next_page_token
    assert found == list(everybody.conflicts) and not everybody.next_page_token
    twice = {(f"RECO_ID_{number + 80}", f"RECO_ID_{number}") for number in range(1, 41)}
    assert twice == {(one.person.person_id, one.other.person_id) for one in found}


def test_who_was_enrolled_elsewhere_is_compared_too(twice: FakeGateway):
    twice.embedder.drop_templates()
    assert pairs(twice) == [(OTHER, PERSON)]


def test_templates_without_a_row_are_nobody(twice: FakeGateway):
    twice.embedder.stored["RECO_ID_9"] = dict(twice.embedder.stored[PERSON])
    assert pairs(twice) == [(OTHER, PERSON)]


@pytest.mark.parametrize(
    ("fields", "reason", "wrong"),
    [
        ({"page_size": 201}, "FIELD_INVALID", ["page_size"]),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID", ["page_token"]),
        ({"max_fmr": 0.5}, "FIELD_INVALID", ["max_fmr"]),
        ({"max_fmr": -1e-3}, "FIELD_INVALID", ["max_fmr"]),
        ({"max_fmr": float("nan")}, "FIELD_INVALID", ["max_fmr"]),
    ],
)
def test_what_does_not_fit_is_named(gateway: FakeGateway, fields: dict[str, Any], reason: str, wrong: list[str]):
    assert refusal(lambda: conflicts(gateway, **fields)) == ("INVALID_ARGUMENT", reason, wrong)
    assert not gateway.steps.counts["embedder.similar"]


def test_a_token_is_of_one_list(gateway: FakeGateway):
    for number in range(1, 60):
        create(gateway, person_id=f"RECO_ID_{number}")
    token = conflicts(gateway, page_size=1).next_page_token
    people = pb.ListPeopleRequest(page_token=token)
    wrong = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ["page_token"])
    assert refusal(lambda: gateway.people_api.ListPeople(people, CONTEXT)) == wrong
    assert refusal(lambda: conflicts(gateway, page_token=token, max_fmr=1e-3)) == wrong


# Merging


def test_one_person_has_the_photos_of_both(twice: FakeGateway):
    before, theirs = photos(twice), photos(twice, OTHER)
    upload = twice.upload(NEAR, person=OTHER)
    merged = merge(twice)
    assert merged == get(twice) and merged.person_id == PERSON and merged.display_name == "Ann McLee"
    assert list(merged.labels) == ["berlin", "staff"] and merged.external_id == "x-2"
    after = photos(twice)
    assert [one for one in after if one in before] == before and len(after) == 3
    added = [one for one in after if one not in before]
    for one, earlier in zip(added, theirs, strict=True):
        assert (one.quality, one.source, one.create_time) == (earlier.quality, earlier.source, earlier.create_time)
    assert len(twice.embedder.stored[PERSON]) == 9, "three photos, and two made of each"
    assert refusal(lambda: get(twice, OTHER)) == ("NOT_FOUND", "NOT_ENROLLED", [])
    assert upload not in twice.uploads.waiting and OTHER not in twice.embedder.stored
    assert twice.verify(fake_photo(FakeFace("ann", 0.3))).outcome is VerificationOutcome.VERIFIED
    assert pairs(twice) == []
    twice.check_agreement()


def test_names_that_both_have_are_no_matter(twice: FakeGateway):
    """As the original stored them."""
    for person_id, angle in ((PERSON, 0.0), (OTHER, 0.25)):
        folder = next(row.folder for row in twice.records.rows.values() if row.person_id == person_id)
        png = fake_photo(FakeFace("ann", angle))
        points = tuple((float(x), float(y)) for x, y in LANDMARKS)
        twice.photos.folders[folder] = {
            "1.jpg": FacePhoto("1.jpg", False, png, points), "1-aug01.jpg": FacePhoto("1-aug01.jpg", True, png, points)
        }  # fmt: skip
    twice.embedder.drop_templates()
    merge(twice)
    folder = next(row.folder for row in twice.records.rows.values())
    names = twice.photos.names(folder)
    assert len(names) == 4 and list(names.values()).count(True) == 2
    new = next(name for name, augmented in names.items() if not augmented and name != "1.jpg")
    assert new.endswith(".jpg") and f"{new.removesuffix('.jpg')}-aug01.jpg" in names
    twice.check_agreement()


@pytest.mark.parametrize(
    ("person_id", "other_id", "why"),
    [
        (PERSON, PERSON, ("INVALID_ARGUMENT", "FIELD_INVALID", ["other_person_id"])),
        (PERSON, "RECO_ID_9", ("NOT_FOUND", "NOT_ENROLLED", [])),
        ("RECO_ID_9", OTHER, ("NOT_FOUND", "NOT_ENROLLED", [])),
        (PERSON, "../x", ("INVALID_ARGUMENT", "PERSON_ID_INVALID", ["other_person_id"])),
        ("../x", OTHER, ("INVALID_ARGUMENT", "PERSON_ID_INVALID", ["person_id"])),
        (PERSON, "", ("INVALID_ARGUMENT", "PERSON_ID_INVALID", ["other_person_id"])),
    ],
)
def test_whom_it_does_not_merge(twice: FakeGateway, person_id: str, other_id: str, why: tuple[str, str, list[str]]):
    assert refusal(lambda: merge(twice, person_id, other_id)) == why
    assert len(photos(twice)) == 1 and len(photos(twice, OTHER)) == 2
    twice.check_agreement()


@pytest.mark.parametrize("step", ["photos.stage", "records.merge"])
@pytest.mark.parametrize("error", [OSError("full"), DatabaseRefused("no"), DatabaseUnavailable("gone"), Killed()])
def test_what_fails_before_the_commit_leaves_two_people(twice: FakeGateway, step: str, error: BaseException):
    twice.steps.fail(step, error)
    with pytest.raises((Killed, Exception)):
        merge(twice)
    twice.restart()
    twice.pipeline.reconciler.clean_up(twice.workspace)
    assert len(photos(twice)) == 1 and len(photos(twice, OTHER)) == 2
    twice.check_agreement()


@pytest.mark.parametrize("step", ["photos.publish", "embedder.enroll", "embedder.remove", "records.delete_entry"])
def test_what_fails_after_it_leaves_one(twice: FakeGateway, step: str):
    twice.steps.fail(step, Killed())
    with pytest.raises(Killed):
        merge(twice)
    twice.restart()
    twice.pipeline.reconciler.clean_up(twice.workspace)
    assert len(photos(twice)) == 3 and refusal(lambda: get(twice, OTHER))[1] == "NOT_ENROLLED"
    twice.check_agreement()
