"""How often one ID may be claimed."""

import pytest

from services.gateway.access.attempts import Attempts, TooManyAttempts


class Clock:
    """Seconds, that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def claims(attempts: Attempts, person_id: str, count: int) -> int:
    """How many of so many claims at once are let through."""
    passed = 0
    for _ in range(count):
        try:
            attempts.claim(person_id)
            passed += 1
        except TooManyAttempts:
            continue
    return passed


def test_so_many_a_minute_and_one_id_says_nothing_of_another(clock: Clock):
    attempts = Attempts(30, clock)
    assert claims(attempts, "ann", 100) == 30
    assert claims(attempts, "bob", 1) == 1
    clock.now += 2
    assert claims(attempts, "ann", 100) == 1
    clock.now += 60
    assert claims(attempts, "ann", 100) == 30
    clock.now += 3600
    assert claims(attempts, "ann", 100) == 30


def test_it_says_when_to_try_again_and_is_right(clock: Clock):
    attempts = Attempts(6, clock)
    claims(attempts, "ann", 6)
    clock.now += 3.5
    with pytest.raises(TooManyAttempts) as refused:
        attempts.claim("ann")
    assert refused.value.retry_after == 7
    clock.now += 6.4
    assert claims(attempts, "ann", 1) == 0
    clock.now += 0.6
    assert claims(attempts, "ann", 2) == 1


def test_0_is_no_limit(clock: Clock):
    assert claims(Attempts(0, clock), "ann", 10_000) == 10_000


def test_memory_is_bounded_and_those_of_late_are_remembered(clock: Clock):
    attempts = Attempts(1, clock, max_ids=100)
    for number in range(1000):
        attempts.claim(f"RECO_ID_{number}")
    assert len(attempts._buckets) == 100
    assert claims(attempts, "RECO_ID_950", 1) == 0
