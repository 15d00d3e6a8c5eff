"""What the gallery remembers of whom it removed: the bucket (buckets.py), and when. Within transactions of store.py."""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, delete, insert, select, update

from services.embedder.gallery.buckets import bucket_of
from services.embedder.gallery.tables import people, removals

#: Values in one IN (...).
MAX_VALUES = 500


def note_removal(connection: Connection, person_id: str, number: int) -> None:
    """Deletes the person's row, and notes that somebody of their bucket went at revision `number`."""
    connection.execute(delete(people).where(people.c.person_id == person_id))
    bucket = bucket_of(person_id)
    if not connection.execute(update(removals).where(removals.c.bucket == bucket).values(revision=number)).rowcount:
        connection.execute(insert(removals).values(bucket=bucket, revision=number))


def removals_between(connection: Connection, number: int, last: int | None = None) -> list[int]:
    """Buckets whose last removal came after revision `number`, and not after `last`."""
    query = select(removals.c.bucket).where(removals.c.revision > number)
    return list(connection.scalars(query if last is None else query.where(removals.c.revision <= last)))


def absent_in(connection: Connection, person_ids: Collection[str]) -> list[str]:
    """Those of the people of whom this transaction sees nothing."""
    wanted = sorted(person_ids)
    there: set[str] = set()
    for some in pieces(wanted):
        there.update(connection.scalars(select(people.c.person_id).where(people.c.person_id.in_(some))))
    return [person_id for person_id in wanted if person_id not in there]


def pieces(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many values at a time as go into one IN (...)."""
    return (values[start : start + MAX_VALUES] for start in range(0, len(values), MAX_VALUES))
