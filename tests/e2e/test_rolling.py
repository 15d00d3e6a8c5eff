"""Two copies of everything behind Envoy, restarted and killed one after the other while they are used."""

from pathlib import Path

from tests.e2e import rolling
from tests.e2e.services import Services


def test_a_rolling_restart_under_load_loses_nothing(tmp_path: Path):
    load = rolling.run(tmp_path, {}, Services.stop)
    assert not load.complaints
    assert load.counts["copies ended"] == 8 and load.counts["losses"] == 0
    assert load.counts["verifications"] > 8 and load.counts["enrollments"] > 2


def test_a_killed_copy_costs_no_verification_and_no_person(tmp_path: Path):
    load = rolling.run(tmp_path, {}, Services.kill)
    assert load.counts["verifications refused"] == 0, load.complaints
    assert load.counts["copies ended"] == 8 and load.counts["losses"] == 0
    assert load.counts["verifications"] > 8 and load.counts["enrollments"] > 2
