"""Profiles, labels and facts of photos: what is written to them in the transactions of people's rows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from services.gateway.storage.profiles import Details, PhotoFacts, Profile, name_key
from services.gateway.storage.tables import Tables

#: Values in one IN (…).
CHUNK = 500


def write_details(
    connection: Connection, tables: Tables, details: Details, record_id: int, dropped: Sequence[str]
) -> None:
    """Sets a person's profile, adds facts of photos, and deletes those of photos that were dropped."""
    profiles, labels, photos = tables.profiles, tables.labels, tables.photos
    row = profile_row(details.profile) | {"record_id": record_id}
    if connection.scalar(select(profiles.c.record_id).where(profiles.c.record_id == record_id)) is None:
        connection.execute(insert(profiles).values(row))
    else:
        connection.execute(update(profiles).where(profiles.c.record_id == record_id).values(row))
    connection.execute(delete(labels).where(labels.c.record_id == record_id))
    if details.profile.labels:
        rows = [{"label": label, "record_id": record_id} for label in details.profile.labels]
        connection.execute(insert(labels), rows)
    for table in (photos, tables.digests):
        for names in chunks(dropped):
            connection.execute(delete(table).where(table.c.record_id == record_id, table.c.name.in_(names)))
    if details.photos:
        connection.execute(insert(photos), [_from_facts(record_id, facts) for facts in details.photos])
    write_digests(connection, tables, record_id, details.digests)


def forget_details(connection: Connection, tables: Tables, record_id: int) -> None:
    """Deletes all of a row's number."""
    for table in (tables.labels, tables.photos, tables.digests, tables.profiles):
        connection.execute(delete(table).where(table.c.record_id == record_id))


def write_digests(connection: Connection, tables: Tables, record_id: int, digests: Mapping[str, bytes]) -> None:
    """Sets the digests of these photos."""
    table = tables.digests
    for names in chunks(digests):
        connection.execute(delete(table).where(table.c.record_id == record_id, table.c.name.in_(names)))
        rows = [{"record_id": record_id, "name": name, "digest": digests[name]} for name in names]
        connection.execute(insert(table), rows)


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
