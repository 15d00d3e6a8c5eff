"""The gallery: templates of enrolled people, in SQL.

Templates are derived from photos and can be dropped at any time. Every change is one transaction that begins by moving
the one row of `reco_revision` on, whose lock puts all changes of all processes in one order; the person's row in
`reco_galleries` notes the revision of its last change. So a process that remembers the revision it has seen learns of
everything newer by one cheap query. Of a person who is removed nothing is kept but that somebody was, in a bucket of
many (buckets.py): whoever remembers people of that bucket asks which of them are still there.
"""

import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.common.database import reading, writing
from services.common.encryption import Keyring
from services.common.errors import DatabaseRefused
from services.embedder.gallery.changes import THIS_ROW, Revision, advance, count_photos, note_change, revision_in
from services.embedder.gallery.removals import MAX_VALUES, absent_in, pieces, removals_between
from services.embedder.gallery.tables import SCHEMA, people, removals, revisions, templates
from services.embedder.gallery.templates import PersonChange, PersonGallery, StoredPhoto, Templates, no_templates

#: Rows fetched from the database at once; about as many go into a batch of people.
FETCH_ROWS = 4096

Query = Select[*tuple[Any, ...]]

VECTOR_DTYPE = np.dtype("<f4")


class Gallery:
    """Stored templates of all people. Safe to use from several threads and processes.

    Every method raises DatabaseUnavailable where the database cannot be reached (later calls may succeed again), and
    DatabaseRefused where it refuses.
    """

    def __init__(self, engine: Callable[[], Engine], keyring: Keyring = Keyring()):  # noqa: B008
        """`engine`: gives the engine to use now; the tables are created at first use of each."""
        self._engine = engine
        self._keyring = keyring
        self._prepared: Engine | None = None
        self._lock = threading.Lock()

    def revision(self) -> Revision:
        """The present state: one cheap query."""
        with self.transaction(reading) as connection:
            return revision_in(connection)

    def enroll(
        self,
        person_id: str,
        photos: Sequence[StoredPhoto],
        keep_photo_ids: Collection[str],
        changing: Collection[str] = (),
    ) -> int:
        """Sets what is stored of a person: `photos` and, of those stored already, the ones to keep.

        Args:
            changing: the models (keys) of which `photos` are set; none where of all.

        Returns:
            How many photos the person has now.
        """
        (count,) = self.enroll_all([PersonChange(person_id, photos, keep_photo_ids, changing)])
        return count

    def enroll_all(self, changes: Sequence[PersonChange]) -> list[int]:
        """`enroll` of several people: all, or nobody."""
        with self.transaction(writing) as connection:
            return [self._enroll(connection, change) for change in changes]

    def _enroll(self, connection: Connection, change: PersonChange) -> int:
        ours, number = templates.c.person_id == change.person_id, advance(connection)
        stored = set(connection.scalars(select(templates.c.photo_id).where(ours).distinct()))
        given = {photo.photo_id for photo in change.photos}
        for some in pieces(sorted(stored - given - set(change.keep_photo_ids))):
            connection.execute(delete(templates).where(ours, templates.c.photo_id.in_(some)))
        theirs = (ours, templates.c.model.in_(change.changing)) if change.changing else (ours,)
        for some in pieces(sorted(stored & given)):
            connection.execute(delete(templates).where(*theirs, templates.c.photo_id.in_(some)))
        rows = [row for photo in change.photos for row in self._rows(change.person_id, photo)]
        if rows:
            connection.execute(insert(templates), rows)
        return note_change(connection, change.person_id, number)

    def remove(self, person_id: str) -> int:
        """Forgets a person; returns how many photos they had."""
        ours = templates.c.person_id == person_id
        with self.transaction(writing) as connection:
            number = advance(connection)
            photos = count_photos(connection, person_id)
            if photos:
                connection.execute(delete(templates).where(ours))
                note_change(connection, person_id, number)
            return photos

    def removals_since(self, number: int) -> list[int]:
        """Buckets that somebody was removed from after revision `number`; see `absent`."""
        with self.transaction(reading) as connection:
            return removals_between(connection, number)

    def absent(self, person_ids: Collection[str]) -> list[str]:
        """Those of the people of whom nothing is stored."""
        with self.transaction(reading) as connection:
            return absent_in(connection, person_ids)

    def unenrolled(self, person_ids: Sequence[str], models: Collection[str]) -> list[str]:
        """Those of the people who have no photos, or lack a template of one of the models (keys) for a photo."""
        enrolled = set()
        with self.transaction(reading) as connection:
            for some in pieces(person_ids):
                query = select(people.c.person_id, people.c.models).where(people.c.person_id.in_(some))
                enrolled |= {row.person_id for row in connection.execute(query) if _covers(row.models, models)}
        return [person_id for person_id in person_ids if person_id not in enrolled]

    def of_person(self, person_id: str, models: Sequence[str]) -> PersonGallery:
        """A person's templates of these models (keys)."""
        ours = (templates.c.person_id == person_id, templates.c.model.in_(models))
        columns = (templates.c.model, templates.c.photo_id, templates.c.augmented, templates.c.vector, people.c.models)
        joined = select(*columns).join_from(templates, people, templates.c.person_id == people.c.person_id)
        with self.transaction(reading) as connection:
            rows = connection.execute(joined.where(*ours).order_by(templates.c.photo_id)).all()
        by_model = [[row for row in rows if row.model == model] for model in models]
        found = [self._templates(theirs, person_id, model) for model, theirs in zip(models, by_model, strict=True)]
        return PersonGallery(tuple(found), bool(rows) and _covers(rows[0].models, models))

    def templates_of(self, person_id: str, model: str) -> Templates:
        """A person's templates of one model (key), in the order of photo ids; empty where there are none."""
        ours = (templates.c.person_id == person_id, templates.c.model == model)
        query = select(templates.c.photo_id, templates.c.augmented, templates.c.vector).where(*ours)
        with self.transaction(reading) as connection:
            return self._templates(connection.execute(query.order_by(templates.c.photo_id)).all(), person_id, model)

    def templates_of_all(self, person_ids: Sequence[str], model: str) -> dict[str, Templates]:
        """The templates that these people have of one model (key), by person; of who has none, nothing."""
        found: dict[str, Templates] = {}
        with self.transaction(reading) as connection:
            for some in pieces(person_ids):
                rows = connection.execute(_all_of(model).where(templates.c.person_id.in_(some)))
                for person_id, group in groupby(rows, attrgetter("person_id")):
                    found[person_id] = self._templates(list(group), person_id, model)
        return found

    def changes_since(self, number: int, model: str) -> Iterator[dict[str, Templates]]:
        """What the people changed after revision `number` have of a model (key) now, in batches.

        Ask for `revision()` first: what changes between the two is then seen again next time, and never missed.

        Yields:
            person id → all templates; empty for one who has none of this model. Who was removed is not among them:
            see `removals_since`.
        """
        ours = (templates.c.person_id == people.c.person_id) & (templates.c.model == model)
        columns = (people.c.person_id, templates.c.photo_id, templates.c.augmented, templates.c.vector)
        query = select(*columns).outerjoin_from(people, templates, ours).where(people.c.revision > number)
        return self._stream(query.order_by(people.c.person_id, templates.c.photo_id), model)

    def next_changes(
        self, connection: Connection, number: int, model: str, most: int
    ) -> tuple[dict[str, Templates], int]:
        """The oldest changes after revision `number`, of up to `most` people, within a transaction.

        Returns:
            person id → all templates of a model (key), as `changes_since` gives them; and the revision of the last.
            Removals up to that one are another question, see `removals_between`.
        """
        query = select(people.c.person_id, people.c.revision).where(people.c.revision > number)
        changed = connection.execute(query.order_by(people.c.revision).limit(most)).all()
        changes = {row.person_id: no_templates() for row in changed}
        those = _all_of(model).where(templates.c.person_id.in_(changes))
        groups = groupby(connection.execute(those), attrgetter("person_id"))
        changes |= {person_id: self._templates(list(group), person_id, model) for person_id, group in groups}
        return changes, changed[-1].revision if changed else number

    def everything(self, model: str) -> Iterator[dict[str, Templates]]:
        """All templates of a model (key), as `changes_since` gives them, for a start with any number of people."""
        return self._stream(_all_of(model), model)

    def count_people(self) -> int:
        """How many people have templates."""
        with self.transaction(reading) as connection:
            return connection.scalar(select(func.count()).select_from(people)) or 0

    def drop_all(self) -> int:
        """Forgets everybody; returns how many templates there were."""
        with self.transaction(writing) as connection:
            advance(connection)
            connection.execute(update(revisions).where(THIS_ROW).values(epoch=new_epoch()))
            query = select(people.c.person_id).order_by(people.c.person_id).limit(MAX_VALUES)
            dropped = 0
            while some := connection.scalars(query).all():  # piecewise: one huge DELETE would outlast the time limit
                dropped += connection.execute(delete(templates).where(templates.c.person_id.in_(some))).rowcount
                connection.execute(delete(people).where(people.c.person_id.in_(some)))
            connection.execute(delete(removals))
            return dropped

    def _stream(self, query: Query, model: str) -> Iterator[dict[str, Templates]]:
        batch: dict[str, Templates] = {}
        size = 0
        with self.transaction(reading) as connection:
            result = connection.execute(query, execution_options={"yield_per": FETCH_ROWS})
            for person_id, group in groupby(result, attrgetter("person_id")):
                rows = list(group)
                batch[person_id] = self._templates([row for row in rows if row.photo_id is not None], person_id, model)
                size += len(rows)
                if size >= FETCH_ROWS:
                    yield batch
                    batch, size = {}, 0
        yield batch

    def _rows(self, person_id: str, photo: StoredPhoto) -> Iterable[dict[str, Any]]:
        for model, vector in photo.vectors.items():
            blob = np.ascontiguousarray(vector, VECTOR_DTYPE).tobytes()
            sealed = self._keyring.seal(blob, "template", person_id, photo.photo_id, model)
            photo_row = {"person_id": person_id, "photo_id": photo.photo_id, "augmented": photo.augmented}
            yield photo_row | {"model": model, "vector": sealed}

    def _templates(self, rows: Sequence[Row[*tuple[Any, ...]]], person_id: str, model: str) -> Templates:
        if not rows:
            return no_templates()
        plain = [self._keyring.open(row.vector, "template", person_id, row.photo_id, model) for row in rows]
        vectors = np.frombuffer(b"".join(plain), VECTOR_DTYPE).reshape(len(rows), -1)
        augmented = np.array([row.augmented for row in rows], dtype=bool)
        return Templates(tuple(row.photo_id for row in rows), augmented, vectors.astype(np.float32, copy=False))

    @contextmanager
    def transaction(self, begin: Callable[[Engine], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        """A connection to the gallery's database, its tables in place; `begin`: `reading` or `writing`."""
        try:
            with begin(self._ready()) as connection:
                yield connection
        except DatabaseRefused:
            self._prepared = None  # the tables may have been dropped: the next call makes them again
            raise

    def _ready(self) -> Engine:
        """The engine, its tables in place."""
        engine = self._engine()
        with self._lock:
            if self._prepared is not engine:
                _prepare(engine)
                self._prepared = engine
        return engine


def _prepare(engine: Engine) -> None:
    SCHEMA.prepare(engine)
    with writing(engine) as connection:
        if not connection.scalar(select(func.count()).select_from(revisions)):
            with suppress(IntegrityError):  # another process was first
                connection.execute(insert(revisions).values(id=1, epoch=new_epoch(), number=0))


def new_epoch() -> int:
    """Drawn, not counted: a database that was restored or created anew is not taken for the one seen before."""
    return secrets.randbits(62)


def _all_of(model: str) -> Query:
    """All templates of a model (key), person by person."""
    columns = (templates.c.person_id, templates.c.photo_id, templates.c.augmented, templates.c.vector)
    return select(*columns).where(templates.c.model == model).order_by(templates.c.person_id, templates.c.photo_id)


def _covers(complete: str, models: Collection[str]) -> bool:
    return bool(complete) and set(models) <= set(complete.split("\n"))
