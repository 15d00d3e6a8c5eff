"""Databases of people as a whole: one as it is at a moment, and the rows of one put into another."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path, PureWindowsPath
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    make_url,
    select,
    text,
    update,
)

from services.common.database import open_engine, translated_errors, writing
from services.common.errors import RecoError
from services.embedder.gallery import tables as gallery
from services.embedder.gallery.store import Gallery, new_epoch
from services.gateway.env import Env
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.tables import tables_of

#: Rows read and written at a time.
PAGE = 1000


class NotEmpty(RecoError):
    """There are people already where others should be put."""

    status = "FAILED_PRECONDITION"
    reason = "NOT_EMPTY"


@contextmanager
def as_it_is(engine: Engine, file: Path) -> Iterator[Connection]:
    """The database at the moment when the block begins, whatever is written to it meanwhile.

    Args:
        file: of a SQLite database the copy is made there, so that nobody waits for its readers.
    """
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database))) as source, closing(sqlite3.connect(file)) as copy:
            source.backup(copy)
        with opened_file(file) as copied, translated_errors(), copied.connect() as connection:
            yield connection
    else:
        with translated_errors(), engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            connection.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))
            yield connection


@contextmanager
def opened_file(file: Path) -> Iterator[Engine]:
    """A SQLite database in a file, which is made if need be."""
    engine = open_engine(make_url(f"sqlite:///{file}"))
    yield engine
    engine.dispose()


def make_tables(engine: Engine, env: Env) -> None:
    """Makes the tables that are missing, and brings those that are there to the present version."""
    Gallery(lambda: engine).revision()
    SqlRecords(engine, env).count()


def copy_rows(source: Connection, source_env: Env, target: Engine, env: Env) -> dict[str, int]:
    """Puts all that a database holds of people into another, in one transaction.

    What the vector database holds is filled anew from the templates, since the copy is of an epoch of its own.

    Args:
        source: of the present version, see `make_tables`.
        source_env: names the tables and columns there.
        target: with its tables made.
        env: names them there.

    Returns:
        How many rows were copied, by table.

    Raises:
        NotEmpty: there are people, or templates, in the target.
    """
    theirs, ours = tables_of(source_env.sql_table).schema.metadata, tables_of(env.sql_table).schema.metadata
    pairs = list(zip(theirs.tables.values(), ours.tables.values(), strict=True))
    pairs += [(table, table) for table in gallery.metadata.sorted_tables if table is not gallery.collections]
    with writing(target) as connection:
        copied = {env.sql_table: _copy_people(source, source_env, connection, env)}
        if connection.scalar(select(func.count()).select_from(gallery.templates)):
            raise NotEmpty("there are templates of people in the database already")
        for from_table, to_table in pairs:
            connection.execute(delete(to_table))
            rows = source.execute(select(from_table).execution_options(yield_per=PAGE)).mappings()
            copied[to_table.name] = _insert(connection, to_table, map(dict, rows))
        connection.execute(update(gallery.revisions).values(epoch=new_epoch()))
    return copied


def _copy_people(source: Connection, source_env: Env, target: Connection, env: Env) -> int:
    """Columns that others have added to the table are copied too."""
    theirs = Table(source_env.sql_table, MetaData(), autoload_with=source)
    ours = Table(env.sql_table, MetaData(), autoload_with=target)
    if target.scalar(select(func.count()).select_from(ours)):
        raise NotEmpty(f"there are people in the table {env.sql_table} already")
    names = {theirs.columns[0].name: ours.columns[0].name}
    names |= {_column(theirs, getattr(source_env, key)): _column(ours, getattr(env, key)) for key in _COLUMNS}
    for column in theirs.columns:
        if column.name not in names:
            names[column.name] = column.name
            if column.name not in ours.columns:
                _add_column(target, ours.name, column)
    ours = Table(env.sql_table, MetaData(), autoload_with=target)
    path = _column(ours, env.path_col)

    def translated() -> Iterator[dict[str, Any]]:
        for row in source.execute(select(theirs).execution_options(yield_per=PAGE)).mappings():
            values = {names[name]: value for name, value in row.items()}
            yield values | {path: str(env.db_path / PureWindowsPath(values[path]).name)}

    return _insert(target, ours, translated())


_COLUMNS = ("id_col", "name_col", "path_col")


def _column(table: Table, name: str) -> str:
    """As the table spells it."""
    return next(column.name for column in table.columns if column.name.lower() == name.lower())


def _add_column(connection: Connection, table: str, column: Column[Any]) -> None:
    try:
        kind = column.type.as_generic()
    except NotImplementedError:
        kind = Text()
    Operations(MigrationContext.configure(connection)).add_column(table, Column(column.name, kind, nullable=True))


def _insert(connection: Connection, table: Table, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    while page := list(islice(rows, PAGE)):
        connection.execute(insert(table), page)
        count += len(page)
    return count
