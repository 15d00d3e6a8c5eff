"""The tables of our own beside the one of people, and what is written to them in the transactions of its rows."""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
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

from services.gateway.storage.profiles import Details, PhotoFacts, Profile, name_key

MYSQL: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}

#: Characters that MySQL allows in a table's name.
MAX_TABLE_NAME = 64

#: Values in one IN (…).
CHUNK = 500

RowId = BigInteger().with_variant(Integer, "sqlite")


class PeopleTables:
    """Their definitions, and what is written to them in the transactions of others."""

    def __init__(self, people_table: str):
        """`people_table`: the one that they stand beside; another one has others."""
        metadata = MetaData()
        self.profiles = Table(
            table_name(people_table, "profiles"),
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
            table_name(people_table, "labels"),
            metadata,
            Column("label", String(255), primary_key=True),
            Column("record_id", RowId, primary_key=True, autoincrement=False, index=True),
            **MYSQL,
        )
        self.photos = Table(
            table_name(people_table, "photos"),
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
        row = profile_row(details.profile) | {"record_id": record_id}
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


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """As many at a time as one IN (…) takes."""
    left = iter(values)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


def profile_row(profile: Profile) -> dict[str, Any]:
    """A row of the table of profiles."""
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


def table_name(people_table: str, suffix: str) -> str:
    """Of one of our tables."""
    name = f"{people_table}_{suffix}"
    if len(name) <= MAX_TABLE_NAME:
        return name
    return f"{people_table[:32]}_{blake2b(people_table.encode(), digest_size=6).hexdigest()}_{suffix}"
