"""The last hour, minute by minute."""

import pytest
from prometheus_client import CollectorRegistry

from services.common.metrics import CallMetrics
from services.gateway.activity import KEPT, Activity

VERIFY, FILE = "/reco.gateway.v1.LegacyService/Verify", "/reco.gateway.v1.ConsoleService/GetFile"


class Hour:
    """Calls at times that a test says."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._calls, self.now = CallMetrics("server", registry), 1_000_000.0
        self.activity = Activity(registry, lambda: self.now)

    def call(self, count: int, path: str = VERIFY, code: str = "OK", seconds: float = 0.02) -> None:
        for _ in range(count):
            self._calls.begun(path)
            self._calls.ended(path, code, seconds)


def test_calls_are_counted_by_minutes():
    hour = Hour()
    hour.call(90, seconds=0.02)
    hour.call(10, seconds=0.7)
    hour.now += 60
    hour.activity.note()
    hour.call(3, code="RESOURCE_EXHAUSTED")
    hour.call(2, code="INTERNAL")
    hour.call(1, code="NOT_FOUND")
    hour.call(7, path=FILE)
    first, present = hour.activity.minutes()
    assert (first.begin, first.calls, first.refused, first.failed) == (1_000_000.0, 100, 0, 0)
    assert 0.01 < first.median < 0.025 and 0.5 < first.p95 <= 1
    assert (present.begin, present.calls, present.refused, present.failed) == (1_000_060.0, 6, 3, 2)


def test_nothing_is_asked_for_a_while_and_an_hour_is_kept():
    hour = Hour()
    hour.call(1)
    hour.now += 150
    assert [one.calls for one in hour.activity.minutes()] == [1, 0, 0]
    hour.now += 7200
    assert len(hour.activity.minutes()) == KEPT + 1
    assert all((one.calls, one.median, one.p95) == (0, 0, 0) for one in hour.activity.minutes())


def test_times_beyond_all_bounds_are_the_last_one():
    hour = Hour()
    hour.call(4, seconds=500)
    (present,) = hour.activity.minutes()
    assert present.median == pytest.approx(60) and present.p95 == pytest.approx(60)
