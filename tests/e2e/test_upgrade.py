"""Who was enrolled by an earlier version is verified, found and listed by this one, on its database and folders."""

from pathlib import Path

import cv2
import pytest

from deploy.local.demo import astronaut, jpeg
from tests import versions
from tests.e2e.api import Api, files
from tests.e2e.system import System
from tests.mariadb import MariaDB


@pytest.mark.parametrize("version", versions.ALL)
@pytest.mark.parametrize("database", ["sqlite", "mariadb"])
def test_an_installation_goes_on(request: pytest.FixtureRequest, tmp_path: Path, version: str, database: str):
    settings = {}
    if database == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb")
        versions.load_mariadb(version, server)
        settings = server.settings
    system = System(tmp_path, SELECTED_MODELS="Dlib", NUM_AUG="1", **settings)
    if database == "sqlite":
        versions.load_sqlite(version, tmp_path / "var" / "reco.db")
    for name in versions.PHOTOS:
        photo = system.images / versions.FOLDER / name
        photo.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(photo), astronaut())
    with system:
        api, picture = Api(system), {"image": files(jpeg(cv2.flip(astronaut(), 1)))[0]["image"]}
        (person,) = api.get("/v1/people")["people"]
        assert (person["person_id"], person["display_name"]) == ("RECO_ID_1", "Eileen Collins")
        status, verified = api.ask("POST", "/v1/people/RECO_ID_1:verify", {**picture, "skip_liveness": True})
        assert status == 200 and verified["verified"], verified
        status, found = api.ask("POST", "/v1/faces:identify", picture)
        assert [one["person"]["person_id"] for one in found["faces"][0]["candidates"]] == ["RECO_ID_1"]
        api.create("RECO_ID_2", jpeg(astronaut()[:, ::-1][20:, 10:]), name="Bob")
        assert len(api.get("/v1/people")["people"]) == 2
    if database == "mariadb":
        server.empty()  # other tests use it too
