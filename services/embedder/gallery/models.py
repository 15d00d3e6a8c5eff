"""Forgets what models that are no longer used have made of people, while embedders go on."""

from collections.abc import Collection

from sqlalchemy import delete, select

from services.common.database import reading, writing
from services.embedder.gallery.changes import advance, note_change
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.tables import people, templates
from services.embedder.gallery.templates import name_of

#: People of one transaction.
STEP = 200


def drop_others(gallery: Gallery, names: Collection[str]) -> int:
    """Deletes the templates of models of other names than these; returns how many there were.

    Raises:
        DatabaseUnavailable, DatabaseRefused.
    """
    with gallery.transaction(reading) as connection:
        known = connection.scalars(select(templates.c.model).distinct()).all()
    gone = [model for model in known if name_of(model) not in names]
    dropped, last, some = 0, "", list[str]()
    while gone:
        query = select(people.c.person_id).where(people.c.person_id > last).order_by(people.c.person_id).limit(STEP)
        with gallery.transaction(writing) as connection:
            advance(connection)  # whose lock keeps other changes out from before the people are read
            some = list(connection.scalars(query))
            for person_id in some:
                theirs = (templates.c.person_id == person_id, templates.c.model.in_(gone))
                deleted = connection.execute(delete(templates).where(*theirs)).rowcount
                if deleted:
                    note_change(connection, person_id, advance(connection))
                dropped += deleted
        if len(some) < STEP:
            break
        last = some[-1]
    return dropped
