"""A short run of what `make chaos` does at length."""

from pathlib import Path

import pytest

from tests.e2e import chaos
from tests.mariadb import MariaDB


@pytest.mark.parametrize("database", ["sqlite", "mariadb", "mariadb and an object store"])
def test_enrollments_and_erasures_survive_kills_and_crowds(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
):
    storage = chaos.Storage({}, f"sqlite:///{tmp_path}/var/reco.db")
    if database != "sqlite":
        server: MariaDB = request.getfixturevalue("mariadb")
        with server.connect("", "root", "") as connection:
            connection.cursor().execute("CREATE OR REPLACE DATABASE chaos")
            connection.cursor().execute("GRANT ALL ON chaos.* TO 'reco'@'%'")
        objects = request.getfixturevalue("object_store") if "object" in database else None
        settings, url = {**server.settings, "SQL_SCHEMA": "chaos"}, server.url.replace("/reco?", "/chaos?")
        storage = chaos.Storage(settings, url, objects)
    counts = chaos.run(tmp_path, storage, kills=14, crowd=20, seed=7)
    assert counts["trials"] == 14
    assert counts["crowd enrollments"] == 20
    assert (counts["losses"], counts["disagreements"]) == (0, 0)
