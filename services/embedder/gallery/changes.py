"""What every change of the gallery does, within its transaction: it moves the revision on, and notes whom it was about."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from services.embedder.gallery.removals import note_removal
from services.embedder.gallery.tables import people, revisions, templates

THIS_ROW = revisions.c.id == 1


@dataclass(frozen=True)
class Revision:
    """A state of the gallery. Of two states of one epoch, the one with the higher number is the newer; states of
    different epochs have nothing in common."""

    epoch: int
    number: int


def revision_in(connection: Connection) -> Revision:
    """The present state, as this transaction sees it."""
    return Revision(*connection.execute(select(revisions.c.epoch, revisions.c.number).where(THIS_ROW)).one())


def advance(connection: Connection) -> int:
    """Begins a change: takes the lock that orders changes, and returns the revision that the change makes."""
    connection.execute(update(revisions).where(THIS_ROW).values(number=revisions.c.number + 1))
    return revision_in(connection).number


def note_change(connection: Connection, person_id: str, number: int) -> int:
    """Writes the person's row after a change, and returns how many photos they have."""
    ours = templates.c.person_id == person_id
    photos = count_photos(connection, person_id)
    if not photos:
        note_removal(connection, person_id, number)
        return 0
    counts = connection.execute(select(templates.c.model, func.count()).where(ours).group_by(templates.c.model))
    complete = "\n".join(sorted(model for model, count in counts if count == photos))
    values = {"revision": number, "models": complete}
    if not connection.execute(update(people).where(people.c.person_id == person_id).values(values)).rowcount:
        connection.execute(insert(people).values(person_id=person_id, **values))
    return photos


def count_photos(connection: Connection, person_id: str) -> int:
    query = select(func.count(templates.c.photo_id.distinct())).where(templates.c.person_id == person_id)
    return connection.scalars(query).one()
