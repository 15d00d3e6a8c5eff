"""Fixtures that every tier of tests uses."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.system import System
from tests.load.tools import ToolMissing
from tests.machine import ROOT
from tests.mariadb import MariaDB
from tests.milvus import RealServer, require_milvus
from tests.s3 import ObjectStore

if TYPE_CHECKING:  # the client takes a second to import, and not everybody has it
    from services.embedder.search.milvus.index import Milvus, MilvusIndex


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Tools keep what their process makes private, and end with it; a test that calls them here goes on."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


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


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store of the tests' own; what reads the environment finds it."""
    pytest.importorskip("boto3", reason="boto3 is not installed; `make test` installs it")
    try:
        store = ObjectStore(tmp_path_factory.mktemp("s3"))
    except ToolMissing as err:
        pytest.skip(str(err))
    with store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture
def mysql_url(mariadb: MariaDB) -> str:
    """The server as a SQLAlchemy URL."""
    return mariadb.url


@pytest.fixture(scope="session")
def milvus_file(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Milvus]":
    """Milvus Lite in a file."""
    require_milvus()
    from services.embedder.search.milvus.index import Milvus

    connection = Milvus(str(tmp_path_factory.mktemp("lite") / "vectors.db"))
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Milvus]":
    """A Milvus server of the tests' own."""
    require_milvus()
    if RealServer.missing:
        pytest.skip(RealServer.missing)
    from services.embedder.search.milvus.index import Milvus

    with RealServer(tmp_path_factory.mktemp("milvus")) as server:
        connection = Milvus(server.uri)
        yield connection
        connection.close()


@pytest.fixture(scope="session", params=["file", "server"])
def milvus(request: pytest.FixtureRequest) -> "Milvus":
    """Both."""
    connection: Milvus = request.getfixturevalue(f"milvus_{request.param}")
    return connection


@pytest.fixture(scope="session")
def milvus_collections(milvus: "Milvus") -> Iterator[dict[int, str]]:
    """Names of collections, by the dimension of their templates: making one takes seconds, emptying it does not."""
    names: dict[int, str] = {}
    yield names
    for name in names.values():
        milvus.drop(name)


@pytest.fixture
def new_milvus_index(milvus: "Milvus", milvus_collections: dict[int, str]) -> "Callable[[int], MilvusIndex]":
    """Makes an empty index for templates of a dimension; the one made before for this dimension is it no longer."""

    def make(dimension: int) -> "MilvusIndex":
        if dimension not in milvus_collections:
            milvus_collections[dimension] = f"test_{dimension}"
            milvus.create(milvus_collections[dimension], dimension, "of tests")
        index = milvus.open(milvus_collections[dimension])
        with milvus.call() as client:
            client.delete(index.name, filter='key >= ""')
        return index

    return make
