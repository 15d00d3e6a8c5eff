"""Reconciliation: what dead processes leave is finished or removed, and whoever lacks templates gets them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from services.common.errors import DatabaseUnavailable
from services.gateway.errors import Busy, ErasureIncomplete
from services.gateway.pipeline.verify import VerificationOutcome
from services.gateway.storage.types import FacePhoto, PersonRecord
from tests.fakes import FakeFace, Killed, fake_photo
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway, within

ANN = fake_photo("ann")


def reconcile(gateway: FakeGateway) -> bool:
    """As at a gateway's start; says whether anybody lacked templates."""
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    return gateway.pipeline.reconciler.embed_all_missing(gateway.workspace)


def add_original(gateway: FakeGateway, number: int, *photos: bytes) -> str:
    """A person as the original has left them: a row, and photos that tell no landmarks."""
    person, folder = f"RECO_ID_{number}", f"some_body-RECO_ID_{number}"
    gateway.records.rows[number] = PersonRecord(number, person, "some_body", f"I:\\db\\{folder}")
    names = [f"{n}.png" for n in range(len(photos))]
    stored = {name: FacePhoto(name, False, photo, None) for name, photo in zip(names, photos, strict=True)}
    gateway.photos.folders[folder] = stored
    return person


def test_where_nothing_is_left_nothing_changes(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.steps.clear()
    assert not reconcile(gateway)
    assert gateway.steps.counts["embedder.enroll"] == 0
    gateway.check_agreement()


def test_what_is_staged_and_not_committed_is_deleted(gateway: FakeGateway):
    gateway.photos.staging["not-an-id"] = ()
    gateway.steps.fail("records.commit", Killed())
    with pytest.raises(Killed):
        gateway.enroll(ANN)
    assert len(gateway.photos.staging) == 2
    gateway.restart()
    reconcile(gateway)
    assert not gateway.photos.staging and not gateway.records.rows


def test_what_is_staged_of_a_living_enrollment_stays(gateway: FakeGateway):
    inside, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        inside.set()
        assert go_on.wait(10)

    gateway.steps.before("records.commit", pause)
    with ThreadPoolExecutor(1) as client:
        enrolling = client.submit(gateway.enroll, ANN)
        assert inside.wait(10)
        with pytest.raises(Busy):
            within(1.0, lambda: reconcile(gateway))
        assert gateway.photos.staging
        go_on.set()
        enrolling.result()
    gateway.check_agreement()


def test_what_was_committed_a_moment_ago_stays_too(gateway: FakeGateway):
    def commit_and_die() -> None:
        gateway.steps.fail("photos.publish", Killed())
        with pytest.raises(Killed):
            gateway.enroll(ANN)
        gateway.steps.clear()

    gateway.steps.before("uploads.remove_unfinished", commit_and_die)
    reconcile(gateway)
    assert len(gateway.embedder.stored[PERSON]) == 3
    gateway.check_agreement()


def test_a_failure_to_finish_one_leaves_it_for_the_next_time(gateway: FakeGateway):
    gateway.steps.fail("embedder.enroll", OSError("unreachable"))
    gateway.enroll(ANN)
    with pytest.raises(OSError, match="unreachable"):
        reconcile(gateway)
    gateway.steps.clear()
    reconcile(gateway)
    gateway.check_agreement()


def test_who_is_left_finished_is_embedded_from_the_photos(gateway: FakeGateway):
    """The templates died with the process; those of earlier photos are made anew with them."""
    gateway.enroll(ANN)
    gateway.steps.fail("embedder.enroll", Killed())
    with pytest.raises(Killed):
        gateway.enroll(fake_photo(FakeFace("ann", 0.2)))
    gateway.restart()
    gateway.embedder.stored.clear()
    reconcile(gateway)
    assert len(gateway.embedder.stored[PERSON]) == 6
    gateway.check_agreement()


def test_all_of_the_original_are_embedded_once(gateway: FakeGateway):
    people = [add_original(gateway, number, fake_photo(str(number))) for number in range(1, 6)]
    assert reconcile(gateway)
    assert sorted(gateway.embedder.stored) == people
    gateway.check_agreement()
    gateway.steps.clear()
    add_original(gateway, 6, fake_photo("6"))
    assert reconcile(gateway)
    assert gateway.steps.counts["embedder.enroll"] == 1, "only new rows are asked about"
    assert not reconcile(gateway)


def test_dropped_templates_are_made_again(gateway: FakeGateway):
    gateway.enroll(ANN)
    reconcile(gateway)
    gateway.embedder.drop_templates()
    assert reconcile(gateway)
    gateway.check_agreement()


def test_the_largest_face_of_a_stored_photo_counts(gateway: FakeGateway):
    add_original(gateway, 1, fake_photo("somebody", "ann"))
    reconcile(gateway)
    assert gateway.verify(ANN, skip_search=True).outcome is VerificationOutcome.VERIFIED
    assert gateway.verify(fake_photo("somebody"), skip_search=True).outcome is VerificationOutcome.FOUND_NONE


def test_a_stored_photo_without_a_face_is_left_out(gateway: FakeGateway):
    person = add_original(gateway, 1, fake_photo(), b"no picture", ANN)
    reconcile(gateway)
    assert list(gateway.embedder.stored[person]) == ["2.png"]


def test_a_row_whose_folder_is_gone_stops_nobody_else(gateway: FakeGateway):
    add_original(gateway, 1, ANN)
    other = add_original(gateway, 2, fake_photo("bob"))
    del gateway.photos.folders["some_body-RECO_ID_1"]
    reconcile(gateway)
    assert list(gateway.embedder.stored) == [other]
    assert gateway.verify(fake_photo("bob"), skip_verify=True).outcome is VerificationOutcome.FOUND_OTHER


def test_only_templates_without_a_row_are_orphaned(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.pipeline.reconciler.remove_orphaned(gateway.workspace, PERSON)
    gateway.check_agreement()
    gateway.records.rows.clear()
    gateway.pipeline.reconciler.remove_orphaned(gateway.workspace, PERSON)
    assert not gateway.embedder.stored


def test_waiting_for_templates_of_others_ends_with_the_request(gateway: FakeGateway):
    add_original(gateway, 1, ANN)
    inside, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        inside.set()
        assert go_on.wait(10)

    gateway.steps.before("embedder.enroll", pause)
    with ThreadPoolExecutor(1) as other:
        embedding = other.submit(reconcile, gateway)
        assert inside.wait(10)
        with pytest.raises(Busy):
            within(0.0, lambda: gateway.pipeline.reconciler.embed_all_missing(gateway.workspace))
        go_on.set()
        assert embedding.result()


# Rebuilding on demand


def test_a_rebuild_makes_all_templates_from_the_photos(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.embedder.stored[PERSON].clear()
    gateway.steps.fail("photos.publish", Killed())
    with pytest.raises(Killed):
        gateway.enroll(fake_photo("bob"), person="RECO_ID_2")
    gateway.restart()
    assert gateway.pipeline.rebuilder.rebuild(gateway.workspace) == ("Dlib",)
    gateway.check_agreement()


def test_a_rebuild_makes_templates_only_of_photos_that_have_changed(gateway: FakeGateway):
    gateway.enroll(ANN, fake_photo(FakeFace("ann", 0.1)))
    (folder,) = gateway.photos.folders.values()
    names = sorted(name for name, photo in folder.items() if not photo.augmented)
    gateway.steps.counts.clear()
    assert gateway.pipeline.rebuilder.rebuild(gateway.workspace) == ("Dlib",)
    assert gateway.steps.counts["embedder.enroll"] == 0
    before = dict(gateway.embedder.stored[PERSON])
    folder[names[0]] = replace(folder[names[0]], png=fake_photo(FakeFace("ann", 0.3)))  # by hand
    del folder[names[1]]
    for _ in range(2):  # the second time nothing has changed
        assert gateway.pipeline.rebuilder.rebuild(gateway.workspace) == ("Dlib",)
        assert gateway.steps.counts["embedder.enroll"] == 1
    after = gateway.embedder.stored[PERSON]
    assert set(after) == set(folder)
    assert {name for name in after if after[name] != before[name]} == {names[0]}


def test_a_rebuild_learns_what_photos_of_others_are(gateway: FakeGateway):
    """Those that an earlier version, or PuertoRECO, has left: their templates are made once."""
    gateway.enroll(ANN)
    gateway.people.known_digests.clear()
    gateway.steps.counts.clear()
    for _ in range(2):
        gateway.pipeline.rebuilder.rebuild(gateway.workspace)
    assert gateway.steps.counts["embedder.enroll"] == 1


def test_a_rebuild_that_takes_longer_than_the_request_goes_on(gateway: FakeGateway):
    done, go_on = threading.Event(), threading.Event()
    gateway.steps.before("records.after", lambda: go_on.wait(10))
    gateway.steps.before("embedder.rebuild_index", done.set)
    assert within(1.0, lambda: gateway.pipeline.rebuilder.rebuild(gateway.workspace)) is None
    go_on.set()
    assert done.wait(10)


def test_caches_are_deleted(gateway: FakeGateway):
    gateway.photos.caches = {"b.pkl", "a.pkl"}
    gateway.steps.before("photos.delete_cache", lambda: gateway.photos.caches.discard("b.pkl"))  # by somebody else
    assert gateway.pipeline.rebuilder.delete_caches(gateway.workspace) == {"a.pkl": True, "b.pkl": False}
    assert gateway.pipeline.rebuilder.delete_caches(gateway.workspace) == {}


def test_a_stored_photo_that_cannot_be_read_hinders_nobody(gateway: FakeGateway):
    gateway.enroll(ANN, fake_photo(FakeFace("ann", 0.1)))
    (folder,) = gateway.photos.folders.values()
    broken = min(folder)
    folder[broken] = replace(folder[broken], png=b"half a file")
    gateway.embedder.drop_templates()
    assert gateway.verify(ANN, skip_verify=True).outcome is VerificationOutcome.FOUND_SAME
    assert set(gateway.embedder.stored[PERSON]) == set(folder) - {broken}
    assert gateway.pipeline.rebuilder.rebuild(gateway.workspace) == ("Dlib",)


def test_who_has_lost_the_lock_after_the_commit_does_nothing_more(gateway: FakeGateway):
    gateway.steps.before("records.commit", lambda: setattr(gateway.locks, "is_lost", True))
    gateway.enroll(ANN)
    assert gateway.records.rows and gateway.records.entries and gateway.photos.staging and gateway.uploads.waiting
    assert not gateway.photos.folders and not gateway.embedder.stored
    gateway.steps.clear()
    with pytest.raises(ErasureIncomplete):
        gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    assert gateway.photos.staging and not gateway.records.rows
    gateway.locks.is_lost = False
    reconcile(gateway)
    gateway.check_agreement()


def test_whom_two_have_worked_on_at_once_gets_their_templates_anew(gateway: FakeGateway):
    gateway.enroll(ANN)
    gateway.embedder.stored[PERSON].clear()
    gateway.embedder.stored["RECO_ID_2"] = {}
    gateway.locks.people_lost = {PERSON, "RECO_ID_2"}
    gateway.steps.fail("embedder.enroll", DatabaseUnavailable("not now"))
    with pytest.raises(DatabaseUnavailable):
        reconcile(gateway)
    gateway.steps.clear()
    reconcile(gateway)
    gateway.check_agreement()
