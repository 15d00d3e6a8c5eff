"""Profiles and facts of photos in one database, beside the table of people."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from services.common.database import reading, writing
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.details import chunks, forget_details, profile_row, write_digests
from services.gateway.storage.profiles import Order, PeopleFilter, PhotoFacts, Position, Profile, Source, name_key
from services.gateway.storage.tables import Tables, tables_of

#: No character sorts after it.
LAST = "\U0010ffff"

#: People with a label, from which on an index of names or times leads to a page of them sooner than sorting all.
RARE = 2000


class SqlPeople:
    """Profiles and facts of photos in one database; see PeopleStore."""

    def __init__(self, engine: Engine, people_table: str):
        self._engine = engine
        self._all = tables_of(people_table)
        self._made = False

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
        row_id, rows = tables.profiles.c.record_id, list[RowMapping]()
        with reading(self._engine) as connection:
            by_label = wanted.order is Order.ENROLLMENT or _is_rare(connection, tables, wanted.label)
            query, order = _query(tables, wanted, by_label), self._order(wanted)
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

    def digests(self, record_id: int) -> dict[str, bytes]:
        table = self._tables().digests
        query = select(table.c.name, table.c.digest).where(table.c.record_id == record_id)
        with reading(self._engine) as connection:
            return {str(name): bytes(digest) for name, digest in connection.execute(query)}

    def note_digests(self, record_id: int, digests: Mapping[str, bytes]) -> None:
        tables = self._tables()
        with writing(self._engine) as connection:
            connection.execute(delete(tables.digests).where(tables.digests.c.record_id == record_id))
            write_digests(connection, tables, record_id, digests)

    def add(self, profiles: Sequence[Profile]) -> None:
        table = self._tables().profiles
        ignoring = "IGNORE" if self._engine.dialect.name == "mysql" else "OR IGNORE"
        if profiles:
            with writing(self._engine) as connection:
                connection.execute(insert(table).prefix_with(ignoring), [profile_row(profile) for profile in profiles])

    def rename(self, profile: Profile) -> None:
        table, row = self._tables().profiles, profile_row(profile)
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
                    forget_details(connection, tables, profile.record_id)

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

    def _tables(self) -> Tables:
        if not self._made:
            self._all.schema.prepare(self._engine)
            self._made = True
        return self._all


def _query(tables: Tables, wanted: PeopleFilter, by_label: bool) -> Select[Any]:
    columns = tables.profiles.c
    query = select(tables.profiles)
    if wanted.label:
        labels = tables.labels.c
        same, has = labels.record_id == columns.record_id, labels.label == wanted.label
        # Not EXISTS, which MariaDB turns into a join that begins with the labels.
        looked_up = select(literal(1)).where(same, has).limit(1).scalar_subquery().is_not(None)
        query = query.join(tables.labels, same).where(has) if by_label else query.where(looked_up)
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


def _is_rare(connection: Connection, tables: Tables, label: str) -> bool:
    """Whether so few have a label that they are found by it and then ordered, rather than in order and then by it."""
    some = select(tables.labels.c.record_id).where(tables.labels.c.label == label).limit(RARE).subquery()
    return bool(label) and (connection.scalar(select(func.count()).select_from(some)) or 0) < RARE


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


def _profile(row: RowMapping, labels: Sequence[str]) -> Profile:
    fields = {name: value for name, value in row.items() if name != "name_key"}
    return Profile(**fields, labels=tuple(labels))


def _to_facts(row: RowMapping) -> PhotoFacts:
    return PhotoFacts(
        name=row["name"],
        source=Source(row["source"]),
        created_at=row["created_at"],
        quality=None if row["score"] is None else PhotoQuality(row["score"], json.loads(row["components"])),
        request_id=row["request_id"],
    )
