"""The tables of our own beside the one of people: profiles, labels, and what was written down of photos."""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    RowMapping,
    Select,
    SmallInteger,
    String,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
    update,
)

from services.common.database import reading, writing
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.profiles import (
    Details,
    Order,
    PeopleFilter,
    PhotoFacts,
    Position,
    Profile,
    Source,
    name_key,
)

MYSQL: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}

#: Characters that MySQL allows in a table's name.
MAX_TABLE_NAME = 64

#: Values in one IN (…).
CHUNK = 500

#: No character sorts after it.
LAST = "\U0010ffff"

RowId = BigInteger().with_variant(Integer, "sqlite")


class PeopleTables:
    """Their definitions, and what is written to them in the transactions of others."""

    def __init__(self, people_table: str):
        """`people_table`: the one that they stand beside; another one has others."""
        metadata = MetaData()
        self.profiles = Table(
            _name(people_table, "profiles"),
            metadata,
            Column("record_id", RowId, primary_key=True, autoincrement=False),
            Column("person_id", String(255), nullable=False),
            Column("stored_name", String(255), nullable=False),
            Column("display_name", String(255), nullable=False),
            Column("name_key", String(500), nullable=False, index=True),
            Column("external_id", String(255), nullable=False, index=True),
            Column("created_at", BigInteger, nullable=False, index=True),
            Column("updated_at", BigInteger, nullable=False),
            Column("request_id", String(64), nullable=False, index=True),
            Column("request_digest", String(64), nullable=False),
            **MYSQL,
        )
        self.labels = Table(
            _name(people_table, "labels"),
            metadata,
            Column("label", String(255), primary_key=True),
            Column("record_id", RowId, primary_key=True, autoincrement=False, index=True),
            **MYSQL,
        )
        self.photos = Table(
            _name(people_table, "photos"),
            metadata,
            Column("record_id", RowId, primary_key=True, autoincrement=False),
            Column("name", String(255), primary_key=True),
            Column("source", SmallInteger, nullable=False),
            Column("created_at", BigInteger, nullable=False),
            Column("score", Float),
            Column("components", Text, nullable=False),
            Column("request_id", String(64), nullable=False),
            **MYSQL,
        )
        self._metadata = metadata

    def are_there(self, connection: Connection) -> bool:
        """Whether the database has them all."""
        return all(inspect(connection).has_table(table.name) for table in self._metadata.sorted_tables)

    def create(self, connection: Connection) -> None:
        """Makes those that are missing."""
        self._metadata.create_all(connection)

    def write(self, connection: Connection, details: Details, record_id: int, dropped: Sequence[str]) -> None:
        """Sets a person's profile, adds facts of photos, and deletes those of photos that were dropped."""
        row = _to_row(details.profile) | {"record_id": record_id}
        changed = update(self.profiles).where(self.profiles.c.record_id == record_id).values(row)
        if self._find(connection, record_id) is None:
            connection.execute(insert(self.profiles).values(row))
        else:
            connection.execute(changed)
        connection.execute(delete(self.labels).where(self.labels.c.record_id == record_id))
        if details.profile.labels:
            labels = [{"label": label, "record_id": record_id} for label in details.profile.labels]
            connection.execute(insert(self.labels), labels)
        ours = self.photos.c.record_id == record_id
        for names in chunks(dropped):
            connection.execute(delete(self.photos).where(ours, self.photos.c.name.in_(names)))
        if details.photos:
            connection.execute(insert(self.photos), [_from_facts(record_id, facts) for facts in details.photos])

    def forget(self, connection: Connection, record_id: int) -> None:
        """Deletes all of a row's number."""
        for table in (self.labels, self.photos, self.profiles):
            connection.execute(delete(table).where(table.c.record_id == record_id))

    def _find(self, connection: Connection, record_id: int) -> int | None:
        return connection.scalar(select(self.profiles.c.record_id).where(self.profiles.c.record_id == record_id))


class SqlPeople:
    """Profiles and facts of photos in one database; see PeopleStore."""

    def __init__(self, engine: Engine, people_table: str):
        self._engine = engine
        self._made: PeopleTables | None = None
        self._people_table = people_table

    def find(self, record_id: int) -> Profile | None:
        return self._one(self._tables().profiles.c.record_id == record_id)

    def by_request(self, request_id: str) -> Profile | None:
        return self._one(self._tables().profiles.c.request_id == request_id)

    def between(self, after: int, last: int) -> list[Profile]:
        profiles = self._tables().profiles
        query = select(profiles).where(profiles.c.record_id > after, profiles.c.record_id <= last)
        with reading(self._engine) as connection:
            return [_profile(row, ()) for row in connection.execute(query).mappings()]

    def page(self, wanted: PeopleFilter, after: Position | None, limit: int) -> list[Profile]:
        tables = self._tables()
        query, order = _query(tables, wanted), self._order(wanted)
        row_id, rows = tables.profiles.c.record_id, list[RowMapping]()
        with reading(self._engine) as connection:
            for part in _behind(order, row_id, after):
                ordered = query.where(*part).order_by(order, row_id).limit(limit - len(rows))
                rows += connection.execute(ordered).mappings().all()
                if len(rows) >= limit:
                    break
            return self._with_labels(connection, rows)

    def photos(self, record_id: int) -> dict[str, PhotoFacts]:
        photos = self._tables().photos
        with reading(self._engine) as connection:
            rows = connection.execute(select(photos).where(photos.c.record_id == record_id)).mappings()
            return {row["name"]: _to_facts(row) for row in rows}

    def add(self, profiles: Sequence[Profile]) -> None:
        table = self._tables().profiles
        ignoring = "IGNORE" if self._engine.dialect.name == "mysql" else "OR IGNORE"
        if profiles:
            with writing(self._engine) as connection:
                connection.execute(insert(table).prefix_with(ignoring), [_to_row(profile) for profile in profiles])

    def rename(self, profile: Profile) -> None:
        table, row = self._tables().profiles, _to_row(profile)
        names = {column: row[column] for column in ("stored_name", "display_name", "name_key")}
        with writing(self._engine) as connection:
            connection.execute(update(table).where(table.c.record_id == profile.record_id).values(names))

    def forget(self, profiles: Sequence[Profile]) -> None:
        tables = self._tables()
        for profile in profiles:
            with writing(self._engine) as connection:
                row_id = tables.profiles.c.record_id
                theirs = select(tables.profiles.c.person_id).where(row_id == profile.record_id)
                if connection.scalar(theirs) == profile.person_id:
                    tables.forget(connection, profile.record_id)

    def _one(self, condition: ColumnElement[bool]) -> Profile | None:
        with reading(self._engine) as connection:
            rows = connection.execute(select(self._tables().profiles).where(condition).limit(1)).mappings().all()
            return next(iter(self._with_labels(connection, rows)), None)

    def _with_labels(self, connection: Connection, rows: Sequence[RowMapping]) -> list[Profile]:
        labels = self._tables().labels
        found: dict[int, list[str]] = {}
        for ids in chunks([row["record_id"] for row in rows]):
            for label, record_id in connection.execute(select(labels).where(labels.c.record_id.in_(ids))):
                found.setdefault(record_id, []).append(label)
        return [_profile(row, sorted(found.get(row["record_id"], ()))) for row in rows]

    def _order(self, wanted: PeopleFilter) -> ColumnElement[Any]:
        """Of the people with a label by their enrollment, what the index of labels is ordered by."""
        tables = self._tables()
        by_label = wanted.label and wanted.order is Order.ENROLLMENT
        return tables.labels.c.record_id if by_label else tables.profiles.c[wanted.order.value]

    def _tables(self) -> PeopleTables:
        if self._made is None:
            tables = PeopleTables(self._people_table)
            with reading(self._engine) as connection:
                there = tables.are_there(connection)
            if not there:
                with writing(self._engine) as connection:
                    tables.create(connection)
            self._made = tables
        return self._made


def _name(people_table: str, suffix: str) -> str:
    """Of one of our tables."""
    name = f"{people_table}_{suffix}"
    if len(name) <= MAX_TABLE_NAME:
        return name
    return f"{people_table[:32]}_{blake2b(people_table.encode(), digest_size=6).hexdigest()}_{suffix}"


def _query(tables: PeopleTables, wanted: PeopleFilter) -> Select[Any]:
    columns = tables.profiles.c
    query = select(tables.profiles)
    if wanted.label:
        labels = tables.labels.c
        query = query.join(tables.labels, labels.record_id == columns.record_id).where(labels.label == wanted.label)
    if wanted.name_prefix:
        prefix = name_key(wanted.name_prefix)
        query = query.where(columns.name_key >= prefix, columns.name_key < prefix + LAST)
    if wanted.external_id:
        query = query.where(columns.external_id == wanted.external_id)
    if wanted.created_from or wanted.created_before:
        query = query.where(columns.created_at >= max(1, wanted.created_from))
    if wanted.created_before:
        query = query.where(columns.created_at < wanted.created_before)
    return query


def _behind(
    order: ColumnElement[Any], row_id: ColumnElement[Any], after: Position | None
) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """What is behind a place in an order, in parts that an index gives one after the other."""
    if after is None:
        yield ()
        return
    key, record_id = after
    yield order == key, row_id > record_id
    yield (order > key,)


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """As many at a time as one IN (…) takes."""
    left = iter(values)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


def _to_row(profile: Profile) -> dict[str, Any]:
    return {
        "record_id": profile.record_id,
        "person_id": profile.person_id,
        "stored_name": profile.stored_name,
        "display_name": profile.display_name,
        "name_key": name_key(profile.display_name),
        "external_id": profile.external_id,
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
        "request_id": profile.request_id,
        "request_digest": profile.request_digest,
    }


def _profile(row: RowMapping, labels: Sequence[str]) -> Profile:
    fields = {name: value for name, value in row.items() if name != "name_key"}
    return Profile(**fields, labels=tuple(labels))


def _from_facts(record_id: int, facts: PhotoFacts) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "name": facts.name,
        "source": facts.source.value,
        "created_at": facts.created_at,
        "score": facts.quality.score if facts.quality else None,
        "components": json.dumps(facts.quality.components if facts.quality else {}),
        "request_id": facts.request_id,
    }


def _to_facts(row: RowMapping) -> PhotoFacts:
    return PhotoFacts(
        name=row["name"],
        source=Source(row["source"]),
        created_at=row["created_at"],
        quality=None if row["score"] is None else PhotoQuality(row["score"], json.loads(row["components"])),
        request_id=row["request_id"],
    )
