"""One enrollment of a person at a time, over all gateways: by locked files with SQLite, else by the database server.

**Locked files** are freed by the kernel when their process dies, and not before: who holds one has it.

**The server's named locks** are freed when the connection that took them ends: because its process has died, or because the
network, the server or an administrator has ended it under a process that goes on. So a holder may have lost its lock, and
somebody else may have it, and what it does must not harm:

- Until its commit a holder only stages photos, which others may delete.
- It commits over the very connection that holds the lock (`holder`, SqlRecords): if that has ended, so has the transaction.
  The server rolls a connection's transaction back before it frees its locks.
- After the commit each step can be repeated, and `check` precedes it. What remains is one step, under way while the lock is
  lost, in which somebody else finishes the same and does something new. A holder that lets go learns from the server
  whether it had the lock till then; where not, the person's templates are made anew of what is true by then (`lost`,
  Reconciler). Photos that such a step deletes are those that its own commit had named, and later ones have other names;
  but for an erasure, which takes the folder: of a person who is enrolled again, under the same name, within that step.
"""

import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError, TimeoutError

from services.common.call import seconds_left
from services.common.database import open_lock_engine, translated_errors, writing
from services.common.errors import DatabaseUnavailable
from services.common.private import FILE_MODE, FOLDER_MODE
from services.gateway.errors import Busy, StorageRefused
from services.gateway.storage.types import STRIPES, stripe_of

log = logging.getLogger("reco")

#: Seconds that one question for a lock may wait on the server: well below what a connection waits for an answer.
PATIENCE = 5


class LockFiles:
    """Locks in one folder; see PersonLocks."""

    def __init__(self, folder: Path):
        self._folder = folder

    @contextmanager
    def hold(self, *person_ids: str) -> Iterator[None]:
        """See PersonLocks."""
        with self.hold_stripes(*map(stripe_of, person_ids)):
            yield

    @contextmanager
    def hold_stripes(self, *stripes: int) -> Iterator[None]:
        """See PersonLocks."""
        with ExitStack() as held:
            for stripe in _in_order(stripes):
                held.enter_context(self._hold(stripe))
            yield

    @contextmanager
    def _hold(self, stripe: int) -> Iterator[None]:
        descriptor = self._open(self._folder / ".locks" / f"{stripe:03d}")
        try:
            _acquire(descriptor)
            yield
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """A locked file is not lost."""

    def lost(self) -> set[str]:
        """None is."""
        return set()

    def holder(self) -> Connection | None:
        """No connection holds it."""
        return None

    @staticmethod
    def _open(path: Path) -> int:
        try:
            path.parent.mkdir(FOLDER_MODE, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as err:
            raise StorageRefused(f"the image database cannot be written to: {err.strerror}") from err


def _acquire(descriptor: int) -> None:
    wait = 0.002
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if seconds_left() < 1:
                raise _busy() from None
            time.sleep(wait)
            wait = min(2 * wait, 0.05)


class DatabaseLocks:
    """Named locks of the MySQL or MariaDB server that keeps the records; see PersonLocks. Safe to use from several threads.

    Threads of one process queue before they ask for a connection, so that one person whom many want takes but one.
    """

    def __init__(self, engine: Engine):
        """`engine`: of the records; the locks have connections of their own to the same schema."""
        self._engine = open_lock_engine(engine.url)
        schema = (engine.url.database or "").lower()  # some servers take it in any case
        self._prefix = f"reco/{hashlib.sha256(schema.encode()).hexdigest()[:16]}"
        self._queues = [threading.Lock() for _ in range(STRIPES)]
        self._here = threading.local()
        self._guard = threading.Lock()
        self._lost = set[str]()

    @contextmanager
    def hold(self, *person_ids: str) -> Iterator[None]:
        """See PersonLocks."""
        with self._hold(_in_order(map(stripe_of, person_ids)), person_ids):
            yield

    @contextmanager
    def hold_stripes(self, *stripes: int) -> Iterator[None]:
        """See PersonLocks."""
        with self._hold(_in_order(stripes), ()):
            yield

    def check(self) -> None:
        """See PersonLocks."""
        if (connection := self.holder()) is not None:
            with writing(self._engine, connection):
                connection.execute(text("SELECT 1"))

    def lost(self) -> set[str]:
        """See PersonLocks."""
        with self._guard:
            lost, self._lost = self._lost, set()
        return lost

    def holder(self) -> Connection | None:
        """The connection that holds what this thread has locked; None where it has locked nothing."""
        return getattr(self._here, "connection", None)

    @contextmanager
    def _hold(self, stripes: Sequence[int], person_ids: Sequence[str]) -> Iterator[None]:
        names = [f"{self._prefix}/{stripe:03d}" for stripe in stripes]
        with ExitStack() as held:
            for stripe in stripes:
                held.enter_context(_turn(self._queues[stripe]))
            connection = held.enter_context(self._connect())
            held.callback(self._let_go, connection, names, person_ids)
            for name in names:
                _get(connection, name)
            self._here.connection = connection
            yield

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with translated_errors():
            try:
                connection = self._engine.connect()
            except TimeoutError as err:
                raise Busy("as many people are being enrolled as there are connections for locks") from err
        with connection:
            yield connection

    def _let_go(self, connection: Connection, names: Sequence[str], person_ids: Sequence[str]) -> None:
        """Frees the locks; where the server says that they were not held any more, notes whose."""
        was_held, self._here.connection = self.holder() is not None, None
        try:
            with writing(self._engine, connection):
                freed = [connection.scalar(text("SELECT RELEASE_LOCK(:name)"), {"name": name}) for name in names]
        except (SQLAlchemyError, DatabaseUnavailable):
            connection.invalidate()
            freed = []
        if was_held and freed != [1] * len(names):
            log.warning("the lock of a person was lost while it was held; what was done meanwhile is made sure of")
            with self._guard:
                self._lost.update(person_ids)


def open_locks(engine: Engine, folder: Path) -> LockFiles | DatabaseLocks:
    """Locks that fit where the records are: the server's own, or files in a folder where there is no server."""
    return LockFiles(folder) if engine.dialect.name == "sqlite" else DatabaseLocks(engine)


def _in_order(stripes: Iterable[int]) -> list[int]:
    """In which everybody takes them, so that nobody waits for ever."""
    return sorted(set(stripes))


@contextmanager
def _turn(queue: threading.Lock) -> Iterator[None]:
    if not queue.acquire(timeout=max(0.0, seconds_left() - 1)):
        raise _busy()
    try:
        yield
    finally:
        queue.release()


def _get(connection: Connection, name: str) -> None:
    """Waits for a lock until a second before the deadline, in whole seconds, as MySQL counts."""
    query = text("SELECT GET_LOCK(:name, :wait)")
    while True:
        wait = max(0, min(PATIENCE, int(seconds_left() - 1)))
        with translated_errors(), connection.begin():
            got = connection.scalar(query, {"name": name, "wait": wait})
        if got == 1:
            return
        if got is None:
            raise DatabaseUnavailable("the database server did not give a lock")
        if not wait:
            raise _busy()


def _busy() -> Busy:
    return Busy("another enrollment of this person is under way")
