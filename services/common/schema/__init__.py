"""Schema versions: brings the tables of a service to what its code expects, by Alembic, whoever made them.

A table that is missing is made as the code defines it; only a change of tables that databases have already is a migration,
a module in the service's folder `versions`. It runs in every database once, on an empty one too, before what is missing is
made: so it asks first whether its table is there. Several processes may do this at once.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlalchemy.exc import OperationalError

from services.common.database import reading, writing
from services.common.errors import DatabaseRefused, DatabaseUnavailable

#: Seconds that another process's migration is waited for.
MIGRATION_TIMEOUT = 60

#: What MySQL says of a table that somebody makes or changes just now.
BEING_CHANGED = 1684

logging.getLogger("alembic").setLevel(logging.WARNING)

_one_at_a_time = threading.Lock()  # Alembic's `op` and `context` belong to the whole process


class Schema:
    """The tables of a service, and how those of earlier versions become them. Safe to use from several threads.

    Attributes:
        metadata: the tables as the code expects them.
    """

    def __init__(self, metadata: MetaData, versions: Path, version_table: str):
        """
        Args:
            metadata: see above.
            versions: the folder of migrations.
            version_table: notes which of them a database has behind it.
        """
        self.metadata = metadata
        self._version_table = version_table
        self._config = Config()
        self._config.set_main_option("script_location", str(Path(__file__).parent))
        self._config.set_main_option("version_locations", str(versions))
        self._config.set_main_option("path_separator", "newline")
        self._latest = ScriptDirectory.from_config(self._config).get_current_head()

    def prepare(self, engine: Engine) -> bool:
        """Makes and changes what has to be; returns whether there was anything.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
            DatabaseRefused: it refuses, or is of a later version than the code.
        """
        with reading(engine) as connection:
            if self._is_ready(connection):
                return False
        with _one_at_a_time, writing(engine) as connection, _alone(connection, self._version_table):
            if self._is_ready(connection):
                return False
            self._config.attributes.update(connection=connection, version_table=self._version_table)
            try:
                command.upgrade(self._config, "head")
            except CommandError as err:
                raise DatabaseRefused(f"the database is of a later version of RECO than this one: {err}") from err
            self.metadata.create_all(connection)
        return True

    def _is_ready(self, connection: Connection) -> bool:
        known = MigrationContext.configure(connection, opts={"version_table": self._version_table})
        there = inspect(connection).has_table
        try:
            return known.get_current_revision() == self._latest and all(map(there, self.metadata.tables))
        except OperationalError as err:
            if err.orig and err.orig.args[0] == BEING_CHANGED:
                return False
            raise


@contextmanager
def _alone(connection: Connection, name: str) -> Iterator[None]:
    """Keeps other processes out: MySQL commits with every change of a table; SQLite has one writer anyway."""
    if connection.dialect.name == "sqlite":
        yield
        return
    place = f"{connection.engine.url.database}.{name}".encode()
    lock = {"name": f"reco-schema-{blake2b(place, digest_size=16).hexdigest()}"}
    if not connection.scalar(text("SELECT GET_LOCK(:name, :most)"), {**lock, "most": MIGRATION_TIMEOUT}):
        raise DatabaseUnavailable("another process is changing the database's tables")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), lock)
