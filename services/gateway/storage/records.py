"""The one table of people, and the journal of enrollments under way; details.py has what is written along with a row.

The table's and its columns' names come from `.env`; the first column is the row's ID. A journal entry is written in the
transaction that writes the person's row: whoever finds one finishes that enrollment before going on with the person.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)

from services.common.database import purge, reading, writing
from services.common.errors import DatabaseRefused
from services.gateway.env import Env
from services.gateway.storage.details import chunks, forget_details, write_details
from services.gateway.storage.journal import entry_from_json, entry_to_json
from services.gateway.storage.profiles import Details
from services.gateway.storage.tables import MYSQL, RowId, tables_of
from services.gateway.storage.types import Commitment, Erased, JournalEntry, PersonRecord


class SqlRecords:
    """The table that `.env` names, and the journal, in one database; see RecordStore."""

    def __init__(self, engine: Engine, env: Env, holder: Callable[[], Connection | None] = lambda: None):
        """`holder`: gives the connection that holds the locks of the people whom this thread writes of, where one does."""
        self._engine = engine
        self._holder = holder
        self._names = (env.sql_table, env.id_col, env.name_col, env.path_col)
        self._tables = tables_of(env.sql_table)
        self._journal, self._uses = self._tables.journal, self._tables.uses
        self._people: Table | None = None

    def find(self, person_id: str) -> PersonRecord | None:
        """The row of a person."""
        people = self._table()
        with reading(self._engine) as connection:
            return _find(connection, people, person_id)

    def after(self, record_id: int, limit: int) -> list[PersonRecord]:
        """Rows with a higher ID, in order."""
        people = self._table()
        row_id = people.columns[0]
        with reading(self._engine) as connection:
            rows = connection.execute(select(*people.columns).where(row_id > record_id).order_by(row_id).limit(limit))
            return [_record(row) for row in rows]

    def rows_of(self, record_ids: Sequence[int]) -> dict[int, PersonRecord]:
        """The rows of these numbers, by number."""
        people = self._table()
        row_id, found = people.columns[0], list[PersonRecord]()
        with reading(self._engine) as connection:
            for ids in chunks(record_ids):
                found += map(_record, connection.execute(select(*people.columns).where(row_id.in_(ids))))
        return {record.record_id: record for record in found}

    def count(self) -> int:
        """How many rows there are."""
        people = self._table()
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).select_from(people)) or 0

    def commit(self, record: PersonRecord, entry: JournalEntry | None, details: Details | None = None) -> PersonRecord:
        """The commit point: writes the row (inserted where record_id is 0), the journal and the details, or nothing."""
        people = self._table()
        with self._writing() as connection:
            return self._commit(connection, people, record, entry, details)

    def commit_all(self, commitments: Sequence[Commitment]) -> None:
        """`commit` of several people: all, or nothing."""
        people = self._table()
        with self._writing() as connection:
            for one in commitments:
                self._commit(connection, people, one.record, one.entry, one.details)

    def journal(self, person_id: str | None = None) -> list[JournalEntry]:
        """Committed enrollments and erasures that are not finished yet: of one person, or all."""
        self._table()
        query = select(self._journal.c.details)
        if person_id is not None:
            query = query.where(self._journal.c.person_id == person_id)
        with reading(self._engine) as connection:
            return [entry_from_json(details) for (details,) in connection.execute(query)]

    def delete_entry(self, enrollment_id: str) -> None:
        """Deletes the journal entry of what is finished. Idempotent."""
        self.delete_entries([enrollment_id])

    def delete_entries(self, enrollment_ids: Sequence[str]) -> None:
        """`delete_entry` of several."""
        with self._writing() as connection:
            for ids in chunks(enrollment_ids):
                connection.execute(delete(self._journal).where(self._journal.c.enrolment_id.in_(ids)))

    def erase(self, record: PersonRecord | None, entry: JournalEntry) -> None:
        """The commit point of an erasure: deletes the person's row, if any, and journals what remains to be deleted."""
        people = self._table()
        with self._writing() as connection:
            self._erase(connection, people, record, entry)

    def merge(self, record: PersonRecord, entry: JournalEntry, details: Details, other: Erased) -> None:
        """The commit point of a merge: `commit` of a person's row, and `erase` of the other's, or nothing."""
        people = self._table()
        with self._writing() as connection:
            self._commit(connection, people, record, entry, details)
            self._erase(connection, people, other.record, other.entry)

    def use(self, person_ids: Sequence[str], day: int) -> None:
        """Notes that people were used on a day (since 1970); who is not there is left out, a later day stays."""
        if not person_ids:
            return
        people, uses, wanted = self._table(), self._uses, set(person_ids)
        id_column = people.columns[1]
        with self._writing() as connection:
            there = connection.scalars(select(id_column).where(id_column.in_(wanted)).with_for_update())
            rows = [{"person_id": person_id, "day": day} for person_id in sorted(wanted.intersection(there))]
            if rows:
                ignoring = (
                    insert(uses).prefix_with("OR IGNORE", dialect="sqlite").prefix_with("IGNORE", dialect="mysql")
                )
                connection.execute(ignoring, rows)
                connection.execute(update(uses).where(uses.c.person_id.in_(wanted), uses.c.day < day).values(day=day))

    def last_uses(self, person_ids: Sequence[str]) -> dict[str, int]:
        """The days that are noted, of those people who have one."""
        self._table()
        query = select(self._uses.c.person_id, self._uses.c.day).where(self._uses.c.person_id.in_(person_ids))
        with reading(self._engine) as connection:
            return {str(person_id): int(day) for person_id, day in connection.execute(query)}

    def forget_uses(self) -> None:
        """Deletes all days."""
        self._table()
        with reading(self._engine) as connection:
            known = connection.execute(select(self._uses.c.day).limit(1)).first()
        if known:
            with self._writing() as connection:
                connection.execute(delete(self._uses))

    def purge(self) -> None:
        """Overwrites what was deleted, wherever the database's files on this machine still hold it."""
        purge(self._engine)

    def _writing(self) -> AbstractContextManager[Connection]:
        return writing(self._engine, self._holder())

    def _commit(
        self,
        connection: Connection,
        people: Table,
        record: PersonRecord,
        entry: JournalEntry | None,
        details: Details | None,
    ) -> PersonRecord:
        record_id = record.record_id or _insert(connection, people, record)
        if record.record_id:
            _update(connection, people, record)
        if details:
            write_details(connection, self._tables, details, record_id, entry.drop if entry else ())
        if entry:
            self._write_entry(connection, entry)
        return PersonRecord(record_id, record.person_id, record.name, record.path)

    def _erase(self, connection: Connection, people: Table, record: PersonRecord | None, entry: JournalEntry) -> None:
        if record:
            connection.execute(delete(people).where(people.columns[0] == record.record_id))
            forget_details(connection, self._tables, record.record_id)
        connection.execute(delete(self._journal).where(self._journal.c.person_id == entry.person_id))
        connection.execute(delete(self._uses).where(self._uses.c.person_id == entry.person_id))
        self._write_entry(connection, entry)

    def _write_entry(self, connection: Connection, entry: JournalEntry) -> None:
        row = {"enrolment_id": entry.enrollment_id, "person_id": entry.person_id, "details": entry_to_json(entry)}
        connection.execute(insert(self._journal).values(row))

    def _table(self) -> Table:
        if self._people is None:
            self._tables.schema.prepare(self._engine)
            with reading(self._engine) as connection:
                exists = inspect(connection).has_table(self._names[0])
            if not exists:
                with writing(self._engine) as connection:
                    _new_people_table(self._names).create(connection, checkfirst=True)
            with reading(self._engine) as connection:
                self._people = _reflect(connection, self._names)
        return self._people


def _new_people_table(names: tuple[str, str, str, str]) -> Table:
    table, id_col, name_col, path_col = names
    return Table(
        table,
        MetaData(),
        Column("ID", RowId, primary_key=True, autoincrement=True),
        Column(id_col, String(255), nullable=False, unique=True),
        Column(name_col, String(255), nullable=False),
        Column(path_col, String(1000), nullable=False),
        sqlite_autoincrement=True,
        **MYSQL,
    )


def _reflect(connection: Connection, names: tuple[str, str, str, str]) -> Table:
    """The table as it is, columns in the contract's order: row ID, person ID, name, path."""
    found = inspect(connection).get_columns(names[0])
    by_name = {column["name"].lower(): column for column in found}
    wanted = [found[0]["name"].lower(), *(name.lower() for name in names[1:])]
    absent = [name for name in wanted if name not in by_name]
    if absent:
        raise DatabaseRefused(f"table {names[0]} has no column {', '.join(absent)}")
    columns = [by_name[name] for name in wanted]
    generated = bool(columns[0].get("autoincrement")) or connection.dialect.name == "sqlite"
    first = Column(columns[0]["name"], columns[0]["type"], primary_key=True, autoincrement=generated)
    others = [Column(column["name"], column["type"]) for column in columns[1:]]
    return Table(names[0], MetaData(), first, *others)


def _record(row: Sequence[Any]) -> PersonRecord:
    return PersonRecord(int(row[0]), str(row[1]), str(row[2]), str(row[3]))


def _find(connection: Connection, people: Table, person_id: str) -> PersonRecord | None:
    """Compares exactly, whatever the column's collation thinks of case and trailing spaces."""
    row_id, id_column = people.columns[0], people.columns[1]
    rows = connection.execute(select(*people.columns).where(id_column == person_id).order_by(row_id))
    return next((_record(row) for row in rows if row[1] == person_id), None)


def _insert(connection: Connection, people: Table, record: PersonRecord) -> int:
    row_id, *columns = people.columns
    values = dict(zip(columns, (record.person_id, record.name, record.path), strict=True))
    if row_id.autoincrement is True:
        return connection.execute(insert(people).values(values)).lastrowid
    highest = connection.execute(select(func.coalesce(func.max(row_id), 0)).with_for_update()).scalar_one()
    connection.execute(insert(people).values({row_id: highest + 1, **values}))
    return int(highest) + 1


def _update(connection: Connection, people: Table, record: PersonRecord) -> None:
    row_id, _, name, path = people.columns
    connection.execute(update(people).where(row_id == record.record_id).values({name: record.name, path: record.path}))
