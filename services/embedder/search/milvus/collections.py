"""Which collection of a vector database holds the templates of a model, and up to which change: kept beside the gallery.

All embedders of a gallery share its collections. A change is written to a collection within a transaction that holds the
lock of the collection's row here, and the row moves on when the transaction is committed; so changes go in one after the
other, whoever writes them, and one that was written but not noted, because its writer was killed, is written once more.
"""

import time
from dataclasses import dataclass

from sqlalchemy import and_, delete, insert, select, update

from services.common.database import reading, writing
from services.embedder.gallery.changes import THIS_ROW, Revision, revision_in
from services.embedder.gallery.removals import absent_in, removals_between
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.tables import collections, revisions
from services.embedder.gallery.templates import no_templates
from services.embedder.search.index import Index

#: People whose changes are written in one transaction.
STEP_PEOPLE = 64
#: Seconds without progress after which a half-filled collection is dropped.
ABANDONED = 3600


@dataclass(frozen=True)
class Collection:
    """A collection, and the state of the gallery that it holds."""

    name: str
    revision: Revision

    def can_follow(self, now: Revision) -> bool:
        """Whether changes alone bring it up to date."""
        return self.revision.epoch == now.epoch and self.revision.number <= now.number


class CollectionTable:
    """The table of the collections in one vector database. Safe to use from several threads and processes.

    Every method raises DatabaseUnavailable and DatabaseRefused.
    """

    def __init__(self, gallery: Gallery, place: str, patience: float = 15):
        """
        Args:
            place: tells vector databases apart, up to 64 characters.
            patience: seconds without progress after which who fills a collection is no longer waited for.
        """
        self._gallery = gallery
        self._place = place
        self._patience = patience

    def current(self, model: str) -> tuple[Revision, Collection | None]:
        """The gallery's present state, and the collection to be searched: one cheap query."""
        columns = (revisions.c.epoch, revisions.c.number, collections.c.name)
        theirs = (collections.c.epoch.label("held_epoch"), collections.c.number.label("held_number"))
        ours = and_(collections.c.place == self._place, collections.c.model == model, collections.c.searched)
        query = select(*columns, *theirs).outerjoin_from(revisions, collections, ours).where(THIS_ROW)
        with self._gallery.transaction(reading) as connection:
            row = connection.execute(query).one()
        held = Collection(row.name, Revision(row.held_epoch, row.held_number)) if row.name else None
        return Revision(row.epoch, row.number), held

    def models(self) -> list[str]:
        """Models (keys) that have a collection to be searched."""
        query = select(collections.c.model).where(collections.c.place == self._place, collections.c.searched)
        with self._gallery.transaction(reading) as connection:
            return list(connection.scalars(query))

    def insert(self, name: str, model: str) -> Collection:
        """Adds a collection that is going to be made and filled, with what the gallery holds from now on."""
        with self._gallery.transaction(writing) as connection:
            now = revision_in(connection)
            values = {"name": name, "place": self._place, "model": model, "epoch": now.epoch, "number": now.number}
            connection.execute(insert(collections).values(**values, searched=False, touched=int(time.time())))
        return Collection(name, now)

    def note_progress(self, name: str) -> None:
        """Notes that the collection is still being filled."""
        self._update(name, touched=int(time.time()))

    def is_being_filled(self, model: str, epoch: int) -> bool:
        """Whether somebody is filling a collection of the model in this epoch."""
        since = time.time() - self._patience
        query = select(collections.c.name).where(
            collections.c.place == self._place,
            collections.c.model == model,
            collections.c.epoch == epoch,
            collections.c.touched > since,
            ~collections.c.searched,
        )
        with self._gallery.transaction(reading) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def publish(self, made: Collection, model: str, replace: bool) -> None:
        """Lets a filled collection be searched, and retires the one that was.

        It is itself retired where the gallery has begun a new epoch, or somebody else was first and `replace` is not set.
        """
        ours = (collections.c.place == self._place, collections.c.model == model)
        with self._gallery.transaction(writing) as connection:
            epoch = connection.scalar(select(revisions.c.epoch).where(THIS_ROW).with_for_update())
            rows = connection.execute(select(collections).where(*ours, collections.c.searched)).all()
            taken = any(row.epoch == epoch for row in rows) and not replace
            if made.revision.epoch != epoch or taken:
                connection.execute(update(collections).where(collections.c.name == made.name).values(touched=0))
                return
            connection.execute(
                update(collections).where(*ours, collections.c.searched).values(searched=False, touched=0)
            )
            connection.execute(update(collections).where(collections.c.name == made.name).values(searched=True))

    def write_changes(self, name: str, model: str, index: Index) -> Revision | None:
        """Writes the oldest changes that a collection lacks to its index, and notes that it holds them.

        Returns:
            The state that the collection holds then; None where it is no longer the one to be searched.
        """
        ours = and_(collections.c.name == name, collections.c.searched)
        with self._gallery.transaction(writing) as connection:
            row = connection.execute(select(collections).where(ours).with_for_update()).one_or_none()
            now = revision_in(connection)
            if row is None or row.epoch != now.epoch or row.number > now.number:
                return None
            changes, last = self._gallery.next_changes(connection, row.number, model, STEP_PEOPLE)
            number = last if len(changes) == STEP_PEOPLE else max(last, now.number)
            suspects = {one for it in removals_between(connection, row.number, number) for one in index.people_of(it)}
            removed = dict.fromkeys(absent_in(connection, suspects), no_templates())
            if changes or removed:
                index.apply({**removed, **changes})
            if number > row.number:
                connection.execute(update(collections).where(ours).values(number=number))
            return Revision(now.epoch, number)

    def retire(self, name: str) -> None:
        """Lets a collection be searched no longer; it is to be dropped."""
        self._update(name, searched=False, touched=0)

    def retire_outdated(self) -> None:
        """Retires all collections of earlier epochs."""
        with self._gallery.transaction(writing) as connection:
            outdated = (collections.c.place == self._place, collections.c.epoch != revision_in(connection).epoch)
            connection.execute(update(collections).where(*outdated).values(searched=False, touched=0))

    def leftovers(self) -> list[str]:
        """Collections to be dropped: retired, or left half filled."""
        before = int(time.time()) - ABANDONED
        left = (collections.c.place == self._place, collections.c.touched < before, ~collections.c.searched)
        with self._gallery.transaction(reading) as connection:
            return list(connection.scalars(select(collections.c.name).where(*left)))

    def delete(self, name: str) -> None:
        """Deletes a collection that was dropped."""
        with self._gallery.transaction(writing) as connection:
            connection.execute(delete(collections).where(collections.c.name == name))

    def _update(self, name: str, **values: object) -> None:
        with self._gallery.transaction(writing) as connection:
            connection.execute(update(collections).where(collections.c.name == name).values(**values))
