"""Retention: who is not used any more is erased, and nobody else."""

import pytest

from services.common.errors import DatabaseUnavailable
from services.gateway.access.audit import Event
from services.gateway.pipeline.audited import audited
from services.gateway.pipeline.last_uses import SECONDS_A_DAY, LastUses
from services.gateway.pipeline.pipeline import Enrolls
from services.gateway.pipeline.retention import Retention
from services.gateway.settings import Settings
from tests.fakes import Killed, fake_photo
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway

ANN, BOB, CAROL = fake_photo("ann"), fake_photo("bob"), fake_photo("carol")
OTHER = "RECO_ID_2"
TTL = 30


class Kept:
    """A gateway that keeps people for TTL days without use, on a clock of its own, with Ann and Bob in it."""

    def __init__(self, gateway: FakeGateway, days: int = TTL):
        self.gateway, self.audit = gateway, list[Event]()
        self.day = 20_000.5
        self.start(days)
        gateway.enroll(ANN)
        gateway.enroll(BOB, person=OTHER, name="Bob Lee")
        self.sweep()

    def start(self, days: int = TTL) -> None:
        """A new process."""
        self.uses = LastUses(days > 0, clock=lambda: self.day * SECONDS_A_DAY)
        self.gateway.restart(uses=self.uses)
        self.gateway.pipeline = audited(self.gateway.pipeline, self.audit.append)
        self.retention = Retention(self.enroller, self.uses, days)

    @property
    def enroller(self) -> Enrolls:
        return self.gateway.pipeline.enroller

    def sweep(self, days: float = 0) -> list[str]:
        """The days pass; gives who is still there."""
        self.day += days
        self.retention.sweep(self.gateway.workspace)
        return sorted(row.person_id for row in self.gateway.records.rows.values())


@pytest.fixture
def kept(gateway: FakeGateway) -> Kept:
    return Kept(gateway)


def test_who_is_not_used_for_so_long_is_erased(kept: Kept):
    assert kept.sweep(TTL) == [PERSON, OTHER]
    kept.gateway.verify(ANN)
    assert kept.sweep(1) == [PERSON]
    kept.gateway.check_agreement()
    assert set(kept.gateway.embedder.stored) == {PERSON} and OTHER not in kept.gateway.records.uses
    assert not [upload for upload in kept.gateway.uploads.consumed if upload.startswith(OTHER)]
    assert kept.gateway.records.purged
    assert [event for event in kept.audit if event.action == "erase"] == [
        Event("retention", "erase", OTHER, "erased", "-")
    ]
    assert kept.sweep(TTL) == [PERSON] and kept.sweep(1) == []


@pytest.mark.parametrize("options", [{}, {"skip_verify": True}, {"skip_search": True}], ids=["both", "1:N", "1:1"])
def test_being_recognised_is_a_use(kept: Kept, options: dict[str, bool]):
    kept.sweep(TTL)
    kept.gateway.verify(ANN, **options)
    kept.gateway.verify(CAROL, person=OTHER, **options)
    assert kept.sweep(1) == [PERSON], "an attempt that failed is none"


def test_being_found_in_anothers_name_is_a_use(kept: Kept):
    kept.sweep(TTL)
    kept.gateway.verify(ANN, person=OTHER)
    assert kept.sweep(1) == [PERSON]


def test_being_enrolled_again_is_a_use_at_once(kept: Kept):
    kept.sweep(TTL)
    kept.gateway.enroll(ANN)
    kept.start()  # killed before it could write anything
    assert kept.sweep(1) == [PERSON]


def test_who_was_there_before_retention_was_switched_on_is_kept_as_long_as_others(gateway: FakeGateway):
    kept = Kept(gateway, days=0)
    assert kept.sweep(1000) == [PERSON, OTHER] and not gateway.records.uses
    kept.start(TTL)
    assert kept.sweep() == kept.sweep(TTL) == [PERSON, OTHER]
    assert kept.sweep(1) == []


def test_while_it_is_off_what_was_known_is_forgotten(kept: Kept):
    assert set(kept.gateway.records.uses) == {PERSON, OTHER}
    kept.start(days=0)
    kept.sweep()
    assert not kept.gateway.records.uses
    kept.gateway.verify(ANN)
    assert kept.sweep(TTL) == [PERSON, OTHER] and not kept.gateway.records.uses
    kept.start(TTL)
    assert kept.sweep(1) == [PERSON, OTHER], "days of long ago would have them erased"


def test_a_use_is_written_once_a_day_and_no_verification_waits_for_it(kept: Kept):
    kept.sweep(1)
    written = kept.gateway.steps.counts["records.use"]
    for _ in range(5):
        kept.gateway.verify(ANN)
    assert kept.gateway.steps.counts["records.use"] == written
    for _ in range(3):
        kept.sweep()
        kept.gateway.verify(ANN)
    assert kept.gateway.steps.counts["records.use"] == written + 1
    assert kept.gateway.records.uses[PERSON] == 20_001


def test_what_could_not_be_written_is_written_later(kept: Kept):
    kept.sweep(TTL)
    kept.gateway.verify(ANN)
    kept.gateway.steps.fail("records.use", DatabaseUnavailable("gone"))
    with pytest.raises(DatabaseUnavailable):
        kept.sweep()
    kept.gateway.steps.clear()
    assert kept.sweep() == [PERSON, OTHER] and kept.sweep(1) == [PERSON]


def test_a_killed_erasure_is_finished(kept: Kept):
    kept.gateway.steps.fail("photos.erase", Killed())
    with pytest.raises(Killed):
        kept.sweep(TTL + 1)
    kept.start()
    kept.gateway.pipeline.reconciler.clean_up(kept.gateway.workspace)
    assert kept.sweep() == []
    kept.gateway.check_agreement()


def test_what_fails_for_one_keeps_nobody_else(kept: Kept):
    kept.gateway.steps.fail("photos.erase", OSError("a disk is away"))
    assert kept.sweep(TTL + 1) == []
    assert [(event.person, event.outcome) for event in kept.audit if event.action == "erase"] == [
        (PERSON, "ERASURE_INCOMPLETE"),
        (OTHER, "ERASURE_INCOMPLETE"),
    ]


def test_who_is_used_at_the_last_moment_is_not_erased(kept: Kept):
    """By another gateway, after this one has asked for the days."""
    kept.day += TTL + 1
    kept.gateway.records.uses[PERSON] = today = kept.uses.today
    assert not kept.enroller.delete_unused(kept.gateway.workspace, PERSON, today - TTL)
    assert kept.sweep() == [PERSON]
    assert not [event for event in kept.audit if event.action == "erase" and event.person == PERSON]


@pytest.mark.parametrize("given, days", [("", 0), ("0", 0), ("2d", 2), ("365d", 365), ("60h", 2)])
def test_the_setting(given: str, days: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_PERSON_TTL", given)
    assert Settings.from_environment().person_days == days


@pytest.mark.parametrize("given", ["1", "1d", "47h", "two days", "-3d"])
def test_a_setting_that_does_not_fit(given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_PERSON_TTL", given)
    with pytest.raises(SystemExit, match="RECO_PERSON_TTL"):
        Settings.from_environment()
