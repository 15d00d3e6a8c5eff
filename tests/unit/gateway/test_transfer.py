"""People from one installation to another, page by page: all of them, once, whole or not at all."""

import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from reco.gateway.v1 import transfer_pb2 as pb

from services.gateway.api.transfer import TransferServicer
from services.gateway.pipeline.transfer import exporting
from services.gateway.pipeline.transfer.importing import ImportOutcome
from services.gateway.pipeline.transfer.kept import PNG_SIGNATURE, KeptPerson
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, FakeGateway
from tests.unit.gateway.people_requests import create, refusal

IMPORTED, ADDED, UNCHANGED, REFUSED = ImportOutcome
ANN = fake_photo("ann")
TURNED = fake_photo(FakeFace("ann", 0.1))


def png(content: bytes) -> bytes:
    """A file that begins and ends as a PNG does, with a fake photo in it."""
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    body = b"teST" + content
    return PNG_SIGNATURE + struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body)) + end


@pytest.fixture
def other() -> Iterator[FakeGateway]:
    """Another installation."""
    with ThreadPoolExecutor(4) as executor:
        yield FakeGateway(executor)


@pytest.fixture
def full(gateway: FakeGateway) -> FakeGateway:
    """Three people, whose photos are PNG files."""
    create(gateway, ANN, TURNED, labels=["staff"], external_id="7")
    create(gateway, fake_photo("bob"), person_id="RECO_ID_2", name="Bob")
    gateway.enroll(fake_photo("carl"), person="RECO_ID_3", name="carl")
    for folder in gateway.photos.folders.values():
        for name, photo in folder.items():
            folder[name] = replace(photo, png=png(photo.png))
    return gateway


def read_all(gateway: FakeGateway, templates: bool = True) -> list[KeptPerson]:
    people, after = list[KeptPerson](), None
    while True:
        page = gateway.pipeline.exporter.read(gateway.workspace, after, templates)
        people += page.people
        if page.after is None:
            return people
        after = page.after


def write(gateway: FakeGateway, people: list[KeptPerson]) -> list[ImportOutcome]:
    return [one.outcome for one in gateway.pipeline.importer.write(gateway.workspace, people)]


def test_people_come_as_they_were(full: FakeGateway, other: FakeGateway):
    people = read_all(full)
    assert [len(one.photos) for one in people] == [6, 3, 3]
    assert write(other, people) == [IMPORTED] * 3
    assert other.embedder.embedded == 0
    assert {key: value.keys() for key, value in other.embedder.stored.items()} == {
        key: value.keys() for key, value in full.embedder.stored.items()
    }
    for person in ("RECO_ID_1", "RECO_ID_2", "RECO_ID_3"):
        ours, theirs = (one.pipeline.directory.get(one.workspace, person) for one in (full, other))
        assert replace(theirs, updated_at=0, record_id=0) == replace(
            ours, updated_at=0, record_id=0, request_id="", request_digest=""
        )
        assert other.pipeline.directory.photos(other.workspace, person) == full.pipeline.directory.photos(
            full.workspace, person
        )
    other.check_agreement()
    again = read_all(other)
    assert [one.photos for one in again] == [one.photos for one in people]


def test_without_templates_they_are_made(full: FakeGateway, other: FakeGateway):
    people = read_all(full, templates=False)
    assert not any(photo.templates for one in people for photo in one.photos)
    assert write(other, people) == [IMPORTED] * 3
    assert other.embedder.embedded == 12
    assert other.embedder.stored == full.embedder.stored


def test_templates_of_another_version_are_made_anew(full: FakeGateway, other: FakeGateway):
    other.embedder.version = "2"
    assert write(other, read_all(full)) == [IMPORTED] * 3
    assert other.embedder.embedded == 12


def test_pages_end_by_size_in_the_middle_of_a_person(
    full: FakeGateway, other: FakeGateway, monkeypatch: pytest.MonkeyPatch
):
    whole = read_all(full)
    largest = max(len(photo.photo.png) for one in whole for photo in one.photos)
    monkeypatch.setattr(exporting, "PAGE_BYTES", 2 * largest)
    monkeypatch.setattr(exporting, "PAGE", 2)
    parts = read_all(full)
    assert len(parts) > 3
    together: dict[str, list[object]] = {}
    for part in parts:
        together.setdefault(part.profile.person_id, []).extend(part.photos)
    assert together == {one.profile.person_id: list(one.photos) for one in whole}
    written = [write(other, [part]) for part in parts]
    assert written[:2] == [[IMPORTED], [ADDED]]
    assert write(other, whole) == [UNCHANGED] * 3
    assert read_all(full) == parts
    other.check_agreement()


def test_sent_again_nothing_changes(full: FakeGateway, other: FakeGateway):
    people = read_all(full)
    write(other, people)
    before = (dict(other.records.rows), {name: dict(one) for name, one in other.photos.folders.items()})
    assert write(other, people) == [UNCHANGED] * 3
    assert (other.records.rows, other.photos.folders) == before


def test_parts_of_one_person_in_one_request(full: FakeGateway, other: FakeGateway):
    (ann, *_) = read_all(full)
    half = [replace(ann, photos=ann.photos[:3]), replace(ann, photos=ann.photos[3:])]
    assert write(other, half) == [IMPORTED, ADDED]
    assert len(other.embedder.stored["RECO_ID_1"]) == 6
    other.check_agreement()


def test_somebody_else_of_that_id_gets_no_photos(full: FakeGateway, other: FakeGateway):
    other.enroll(fake_photo("eve"), person="RECO_ID_1", name="Eve")
    create(other, fake_photo("dan"), person_id="RECO_ID_2", name="Bob")  # at another time
    done = other.pipeline.importer.write(other.workspace, read_all(full))
    assert [one.outcome for one in done] == [REFUSED, REFUSED, IMPORTED] and "another person" in done[0].problem
    assert len(other.embedder.stored["RECO_ID_1"]) == len(other.embedder.stored["RECO_ID_2"]) == 3


def test_what_does_not_fit_is_refused_and_nobody_else(full: FakeGateway, other: FakeGateway):
    ann, bob, carl = read_all(full)
    profile, photo = ann.profile, ann.photos[0]
    broken = replace(photo, photo=replace(photo.photo, png=photo.photo.png[:-3]))
    wrong = [
        replace(ann, profile=replace(profile, person_id="../x")),
        replace(ann, profile=replace(profile, display_name="…")),
        replace(ann, profile=replace(profile, labels=("",))),
        replace(ann, photos=()),
        replace(ann, photos=(broken,)),
    ]
    for one in wrong:
        assert write(other, [one, bob]) in ([REFUSED, IMPORTED], [REFUSED, UNCHANGED])
    assert write(other, [ann, carl]) == [IMPORTED, IMPORTED]
    other.check_agreement()


def test_a_picture_that_cannot_be_read_is_refused_unless_its_templates_come_along(
    full: FakeGateway, other: FakeGateway
):
    (ann, *_) = read_all(full)
    unreadable = [replace(one, photo=replace(one.photo, png=png(b"no face"))) for one in ann.photos]
    without = [replace(one, templates=()) for one in unreadable]
    assert write(other, [replace(ann, photos=tuple(without))]) == [REFUSED]
    assert not other.records.rows and not other.photos.staging
    assert write(other, [replace(ann, photos=tuple(unreadable))]) == [IMPORTED]


def test_odd_names_of_photos_stay_in_the_folder(full: FakeGateway, other: FakeGateway):
    (ann, *_) = read_all(full)
    odd = [
        replace(photo, photo=replace(photo.photo, name=name))
        for photo, name in zip(ann.photos, ("../../x.png", "../../x-aug01.png", ".png", "a b.png"), strict=False)
    ]
    person = replace(ann, photos=tuple(odd))
    assert write(other, [person]) == [IMPORTED] and write(other, [person]) == [UNCHANGED]
    names = sorted(other.photos.folders["ann_mclee-RECO_ID_1"])
    assert len(names) == 4 and not any("/" in name or name.startswith(".") for name in names)
    assert any(f"{name.removesuffix('.png')}-aug01.png" in names for name in names)


@pytest.mark.parametrize("step", ["photos.stage", "records.commit_all", "photos.publish", "embedder.enroll"])
def test_killed_in_the_middle_it_can_be_sent_again(full: FakeGateway, other: FakeGateway, step: str):
    people = read_all(full)
    other.steps.fail(step, Killed())
    with pytest.raises(Killed):
        write(other, people)
    other.restart()
    assert all(outcome in (IMPORTED, UNCHANGED) for outcome in write(other, people))
    other.pipeline.reconciler.clean_up(other.workspace)
    other.check_agreement()
    assert [one.photos for one in read_all(other)] == [one.photos for one in people]


def test_by_the_typed_api(full: FakeGateway, other: FakeGateway):
    ours, theirs = (TransferServicer(one.workspaces, one.pipeline) for one in (full, other))
    page = ours.ExportPeople(pb.ExportPeopleRequest(include_templates=True), CONTEXT)
    assert not page.next_page_token
    done = theirs.ImportPeople(pb.ImportPeopleRequest(people=page.people), CONTEXT)
    assert [one.outcome for one in done.people] == [pb.ImportedPerson.OUTCOME_IMPORTED] * 3
    assert theirs.ExportPeople(pb.ExportPeopleRequest(include_templates=True), CONTEXT).people[0].photos == (
        page.people[0].photos
    )
    assert refusal(lambda: theirs.ImportPeople(pb.ImportPeopleRequest(), CONTEXT)) == (
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        ["people"],
    )
    page.people[0].photos[0].templates[0].float32 = b"123"
    odd = pb.ImportPeopleRequest(people=page.people)
    assert refusal(lambda: theirs.ImportPeople(odd, CONTEXT))[1] == "FIELD_INVALID"
    assert refusal(lambda: ours.ExportPeople(pb.ExportPeopleRequest(page_token="x"), CONTEXT))[2] == ["page_token"]
