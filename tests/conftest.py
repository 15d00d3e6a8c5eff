"""Fixtures that every tier of tests uses."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.system import System
from tests.machine import ROOT
from tests.mariadb import MariaDB
from tests.milvus import require_milvus

if TYPE_CHECKING:  # the client takes a second to import, and not everybody has it
    from services.embedder.search.milvus.index import Milvus, MilvusIndex

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photos and weights; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("RECO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "faces").is_dir():
        pytest.skip(f"no test photos at {folder}; name their folder in RECO_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def system(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system, running: four services and Envoy on ports of their own, SQLite, MiniFASNet from the test data."""
    with System(tmp_path_factory.mktemp("system"), mirror=photos / "weights") as running:
        yield running


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB server of the tests' own."""
    if not MariaDB.is_installed():
        pytest.skip("mariadbd is not installed; `make test` installs it where it may")
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def mysql_url(mariadb: MariaDB) -> str:
    """The server as a SQLAlchemy URL."""
    return mariadb.url


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Milvus]":
    """Milvus Lite in a file."""
    require_milvus()
    from services.embedder.search.milvus.index import Milvus

    connection = Milvus(str(tmp_path_factory.mktemp("milvus") / "vectors.db"))
    yield connection
    connection.close()


@pytest.fixture
def new_milvus_index(milvus: "Milvus") -> "Iterator[Callable[[int], MilvusIndex]]":
    """Makes an empty index for templates of a dimension, in a collection of its own."""
    names: list[str] = []

    def make(dimension: int) -> "MilvusIndex":
        names.append(f"test_{next(NUMBERS)}")
        milvus.create(names[-1], dimension, "of a test")
        return milvus.open(names[-1])

    yield make
    for name in names:
        milvus.drop(name)
