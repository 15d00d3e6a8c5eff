"""Tables of earlier versions become those of this one, on SQLite and on a real MariaDB."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, make_url, select, text

from services.common.database import open_engine, reading, writing
from services.common.errors import DatabaseRefused
from services.common.schema import Schema
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.tables import SCHEMA, people, revisions
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.tables import tables_of
from tests import versions
from tests.fake_storage import ENV
from tests.mariadb import MariaDB

FIRST = 'revision = "0001"\ndown_revision = None\n\n\ndef upgrade() -> None:\n    """Nothing."""\n'
SECOND = """
from alembic import op
from sqlalchemy import Column, String, inspect

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    if inspect(op.get_bind()).has_table("thing"):
        op.add_column("thing", Column("label", String(20), nullable=False, server_default="none"))
"""
STARTING_AT_ONCE = 4

OpenDatabase = Callable[[str], Engine]


@pytest.fixture(params=["sqlite", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database as version 0.1 has left it."""
    if request.param == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb")
        versions.load_mariadb("v0_1", server)
        url = server.url
    else:
        versions.load_sqlite("v0_1", tmp_path / "reco.db")
        url = f"sqlite:///{tmp_path}/reco.db"
    engine = open_engine(make_url(url))
    yield engine
    engine.dispose()
    if request.param == "mariadb":
        server.empty()


def thing(folder: Path, version: int) -> Schema:
    """A table as the first version has it, or the second, which has labels."""
    folder.mkdir(exist_ok=True)
    for number, code in enumerate((FIRST, SECOND)[:version], 1):
        if not (folder / f"v{number}.py").exists():  # others may be reading it
            (folder / f"v{number}.py").write_text(code)
    metadata = MetaData()
    labels = [Column("label", String(20), nullable=False, server_default="none")] if version > 1 else []
    Table("thing", metadata, Column("id", Integer, primary_key=True), *labels)
    return Schema(metadata, folder, "thing_schema")


def labels(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(text("SELECT label FROM thing")))


def test_a_table_gets_what_it_lacks_and_keeps_its_rows(engine: Engine, tmp_path: Path):
    assert thing(tmp_path / "1", 1).prepare(engine)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO thing (id) VALUES (7)"))
    later = thing(tmp_path / "2", 2)
    assert later.prepare(engine) and labels(engine) == ["none"]
    assert not later.prepare(engine)


def test_an_empty_database_gets_the_tables_as_they_are_now(engine: Engine, tmp_path: Path):
    assert thing(tmp_path / "2", 2).prepare(engine)
    assert labels(engine) == []


def test_a_table_that_somebody_dropped_is_made_again(engine: Engine, tmp_path: Path):
    later = thing(tmp_path / "2", 2)
    later.prepare(engine)
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE thing"))
    assert later.prepare(engine) and labels(engine) == []


def test_a_database_of_a_later_version_is_refused_and_stays_as_it_is(engine: Engine, tmp_path: Path):
    thing(tmp_path / "2", 2).prepare(engine)
    with pytest.raises(DatabaseRefused, match="later version"):
        thing(tmp_path / "1", 1).prepare(engine)
    assert labels(engine) == []


def test_processes_that_start_at_once_migrate_once(engine: Engine, tmp_path: Path):
    thing(tmp_path / "1", 1).prepare(engine)
    thing(tmp_path / "2", 2)
    url = engine.url.render_as_string(hide_password=False)
    with ProcessPoolExecutor(STARTING_AT_ONCE, mp_context=get_context("spawn")) as processes:
        did = list(processes.map(_prepare, [url] * STARTING_AT_ONCE, [tmp_path / "2"] * STARTING_AT_ONCE))
    assert sorted(did) == [False] * (STARTING_AT_ONCE - 1) + [True] and labels(engine) == []


def _prepare(url: str, folder: Path) -> bool:
    return thing(folder, 2).prepare(open_engine(make_url(url)))


def test_version_0_1_becomes_what_an_empty_database_becomes(engine: Engine):
    before = _epoch(engine)
    Gallery(lambda: engine).revision()
    SqlRecords(engine, ENV).find("RECO_ID_1")
    assert _differences(engine, SCHEMA) == _differences(engine, tables_of(ENV.sql_table).schema) == []
    with reading(engine) as connection:
        assert list(connection.scalars(select(people.c.person_id))) == ["RECO_ID_1"]
    assert _epoch(engine) != before


def _epoch(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.scalars(select(revisions.c.epoch)).one()


def _differences(engine: Engine, schema: Schema) -> list[object]:
    """Between the database's tables and those that the code expects."""
    ours = schema.metadata.tables
    options = {"include_object": lambda found, name, kind, *_: kind != "table" or name in ours}
    with reading(engine) as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata))
