"""A short run of what `make chaos` does at length."""

from pathlib import Path

import pytest

from tests.e2e import chaos
from tests.mariadb import MariaDB


@pytest.mark.parametrize("database", ["sqlite", "mariadb"])
def test_enrollments_and_erasures_survive_kills_and_crowds(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
):
    settings, url = {}, f"sqlite:///{tmp_path}/var/reco.db"
    if database == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb")
        with server.connect("", "root", "") as connection:
            connection.cursor().execute("CREATE DATABASE IF NOT EXISTS chaos")
            connection.cursor().execute("GRANT ALL ON chaos.* TO 'reco'@'%'")
        settings, url = {**server.settings, "SQL_SCHEMA": "chaos"}, server.url.replace("/reco?", "/chaos?")
    counts = chaos.run(tmp_path, settings, url, kills=14, crowd=20, seed=7)
    assert counts["trials"] == 14
    assert counts["crowd enrollments"] == 20
    assert (counts["losses"], counts["disagreements"]) == (0, 0)
