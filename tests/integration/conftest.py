"""A gallery on real databases: SQLite always, MariaDB where it is installed."""

import pytest
from sqlalchemy import make_url

from services.common.database import open_engine
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.tables import metadata


@pytest.fixture(params=["sqlite", "mysql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gallery.db"
    return request.getfixturevalue("mysql_url")


@pytest.fixture
def engine(url):
    engine = open_engine(make_url(url))
    metadata.drop_all(engine)
    yield engine
    metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def gallery(engine):
    return Gallery(lambda: engine)
