"""A short run of what `make soak` does at length, and how it judges."""

from pathlib import Path

import pytest

from tests.e2e.soak import Outages, Plan, run
from tests.mariadb import MariaDB


@pytest.mark.parametrize(
    ("asked", "answered", "excused"),
    [(0, 9, False), (8, 10, True), (12, 13, True), (13, 25, True), (21, 24, True), (26, 27, False)],
)
def test_requests_are_excused_while_the_database_is_away_and_a_little_longer(asked: int, answered: int, excused: bool):
    now = 10.0
    outages = Outages(recovery=5, clock=lambda: now)
    with outages.one():
        now = 20.0
    now = answered
    assert outages.excuse(asked) is excused


def test_an_outage_that_lasts_excuses():
    now = 10.0
    outages = Outages(recovery=5, clock=lambda: now)
    with outages.one():
        now = 99.0
        assert outages.excuse(98)


def test_people_come_and_go_while_the_database_is_restarted(tmp_path: Path, mariadb: MariaDB):
    (tmp_path / "system").mkdir()
    with mariadb.connect("", "root", "") as connection:
        connection.cursor().execute("CREATE DATABASE IF NOT EXISTS soak")
        connection.cursor().execute("GRANT ALL ON soak.* TO 'reco'@'%'")
    plan = Plan(seconds=25, restart_every=8, away=1, look_every=1)
    result = run(tmp_path / "system", plan, mariadb, SQL_SCHEMA="soak")
    assert result.complaints == []
    assert result.restarts >= 2
    assert result.load.counts["people"] > 0
    assert result.load.counts["refused while the database was away"] > 0
