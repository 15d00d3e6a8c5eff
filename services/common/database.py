"""The SQL database that `.env` names: SQLite by URL, MySQL through mysqlclient by host name."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, TimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from services.common.env import EnvInvalid, SqlSettings
from services.common.errors import DatabaseRefused, DatabaseUnavailable
from services.common.private import FOLDER_MODE

#: Seconds that emptying the write-ahead log may wait for readers.
PURGE_TIMEOUT = 2

#: Has MySQL refuse what it would cut to fit a column or its charset, whatever the server is set to.
STRICT = "SET SESSION sql_mode = CONCAT_WS(',', NULLIF(@@SESSION.sql_mode, ''), 'STRICT_ALL_TABLES')"

#: Seconds that a statement may wait for another process's lock, and that connecting may take.
LOCK_TIMEOUT = 20
CONNECT_TIMEOUT = 3

#: Seconds after which the server ends a silent connection that holds named locks: longer than any request takes.
HOLD_TIMEOUT = 660


class Database:
    """Keeps one engine for the database that `.env` names now. Safe to use from several threads."""

    def __init__(self, root: Path):
        """`root`: the folder that a relative SQLite path starts from."""
        self._root = root
        self._lock = threading.Lock()
        self._url: URL | None = None
        self._engine: Engine | None = None

    def engine(self, sql: SqlSettings) -> Engine:
        """The engine of a database; connects at first use.

        Raises:
            DatabaseUnavailable: SQL_URI is not a URL.
            EnvInvalid: the database's driver is not installed.
        """
        url = database_url(sql, self._root)
        with self._lock:
            if self._engine is None or url != self._url:
                self.close()
                self._url, self._engine = url, _engine_of(url)
            return self._engine

    def close(self) -> None:
        """Closes pooled connections."""
        if self._engine is not None:
            self._engine.dispose()


def _engine_of(url: URL) -> Engine:
    try:
        return open_engine(url)
    except ImportError as err:
        raise EnvInvalid([], [f"SQL_URI: the MySQL driver is not installed ({err}); run `make mysql`"]) from err


def database_url(sql: SqlSettings, root: Path) -> URL:
    """The SQLAlchemy URL of a database; a relative SQLite path starts from `root`."""
    if "://" not in sql.uri:
        host, _, port = sql.uri.partition(":")
        return _mysql_url(sql).set(host=host, port=int(port) if port else None)
    try:
        url = make_url(sql.uri)
    except ArgumentError as err:
        raise DatabaseUnavailable(f"SQL_URI is not a database URL: {err}") from err
    if url.get_backend_name() == "sqlite":
        return url.set(database=str(root / (url.database or "var/reco.db")))
    return _mysql_url(sql).set(
        host=url.host,
        port=url.port,
        username=url.username or None,
        password=url.password or None,
        database=url.database or sql.schema,
    )


def _mysql_url(sql: SqlSettings) -> URL:
    query = {"charset": "utf8mb4"}
    return URL.create("mysql+mysqldb", sql.user or None, sql.password or None, database=sql.schema, query=query)


def open_engine(url: URL) -> Engine:
    """An engine whose pool mends lost connections by itself."""
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return _mysql_engine(url, STRICT)


def open_lock_engine(url: URL) -> Engine:
    """An engine for connections that hold MySQL's named locks: few, apart from all others, and ended by the server when it
    has not heard of one for HOLD_TIMEOUT, so that a machine that has gone holds no lock for ever."""
    prepare = f"{STRICT}, SESSION wait_timeout = {HOLD_TIMEOUT}"
    return _mysql_engine(url, prepare, max_overflow=0, pool_timeout=LOCK_TIMEOUT)


def _mysql_engine(url: URL, prepare: str, **pool: int) -> Engine:
    timeouts = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": LOCK_TIMEOUT, "write_timeout": LOCK_TIMEOUT}
    isolation = "READ COMMITTED"  # every read sees what other processes have committed
    arguments = {**timeouts, "init_command": prepare}
    return create_engine(
        url, pool_pre_ping=True, pool_size=16, connect_args=arguments, isolation_level=isolation, **pool
    )


def _prepare_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, not where the driver guesses
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for queries.

    Raises:
        DatabaseUnavailable: the database cannot be reached or refuses.
    """
    with translated_errors(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine, holder: Connection | None = None) -> Iterator[Connection]:
    """One transaction that is committed at the end of the block and rolled back where the block raises.

    Args:
        holder: a connection that holds named locks: the transaction is this one's, and so is not committed without them.

    Raises:
        DatabaseUnavailable: the database cannot be reached or refuses, or the holder was lost.
    """
    if holder is None:
        with translated_errors(), engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection
    elif holder.invalidated:  # it would connect anew, and have no locks
        raise DatabaseUnavailable("the connection that held the person's lock was lost, and the lock with it")
    else:
        with translated_errors(), holder.begin():
            yield holder


def purge(engine: Engine) -> None:
    """Empties SQLite's write-ahead log, which holds what was deleted; a database server looks after its own files.

    Raises:
        DatabaseUnavailable: somebody reads what the log holds, or writes, for longer than PURGE_TIMEOUT.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    with translated_errors(), closing(sqlite3.connect(engine.url.database, timeout=PURGE_TIMEOUT)) as connection:
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise DatabaseUnavailable("the database's write-ahead log is in use and still holds what was deleted")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turns SQLAlchemy's errors into ours, without the statement's parameters in the message.

    Raises:
        DatabaseUnavailable: the server cannot be reached, is going down, or lets nobody in.
        DatabaseRefused: the server answered, and refused the statement.
    """
    try:
        yield
    except SQLAlchemyError as err:
        failure = DatabaseUnavailable if _is_outage(err) else DatabaseRefused
        raise failure(f"{type(err).__name__}: {getattr(err, 'orig', None) or type(err).__name__}") from err


#: MySQL's server errors that are about the server rather than the statement: too many connections, access denied to
#: schema or user, no such schema, shutting down, lost locks on a dying server. The client's own errors begin at 2000.
MYSQL_OUTAGES = {1040, 1044, 1045, 1049, 1053, 1077, 1079, 1129, 1130, 1152, 1153, 1158, 1159, 1160, 1161, 1203, 1927}


def _is_outage(err: SQLAlchemyError) -> bool:
    if isinstance(err, TimeoutError):
        return True
    if not isinstance(err, DBAPIError):
        return False
    code = err.orig.args[0] if err.orig and err.orig.args else None
    if isinstance(code, int):
        return err.connection_invalidated or code in MYSQL_OUTAGES or 2000 <= code < 3000
    return any(word in str(code) for word in ("locked", "unable to open", "disk I/O", "not a database", "malformed"))
