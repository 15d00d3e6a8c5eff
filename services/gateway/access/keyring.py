"""The keys that are in force, in memory: what a request shows is looked up here, and the database is not asked."""

import logging
import threading
import time
from collections.abc import Callable

from services.common.database import Database
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.gateway.access.keys import Key, KeyTable

log = logging.getLogger("reco")

#: Seconds between looks at the table: as long a revoked key may still be taken.
INTERVAL = 1.0

#: Seconds between notes of when keys were used.
NOTE_INTERVAL = 30.0


class AccessKeys:
    """Follows the table of keys. Safe to use from several threads.

    While the database cannot be reached, the keys that were known last stay in force: without it nobody revokes one.
    """

    def __init__(self, open_table: Callable[[], KeyTable], clock: Callable[[], float] = time.time):
        """`open_table`: gives the table that the settings name now; may raise RecoError."""
        self._open_table = open_table
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, Key] | None = None
        self._used: dict[str, int] = {}
        self._noted = clock()

    @property
    def is_known(self) -> bool:
        """Whether the table could be read at least once."""
        return self._keys is not None

    @property
    def is_empty(self) -> bool:
        """Whether no key is known; one that is revoked or has expired counts, lest revoking the last opened the door."""
        return not self._keys

    def find(self, digest: str) -> Key | None:
        """The key of a digest, if it is valid now; notes that it is used."""
        key = (self._keys or {}).get(digest)
        now = self._clock()
        if key is None or not key.is_valid(now):
            return None
        with self._lock:
            self._used[digest] = int(now)
        return key

    def refresh(self) -> None:
        """Reads the table, and now and then notes there which keys were used; a failure leaves all as it was."""
        try:
            table = self._open_table()
            self._keys = {key.digest: key for key in table.all()}
            if self._used and self._clock() - self._noted >= NOTE_INTERVAL:
                with self._lock:
                    self._used, used = {}, self._used
                self._noted = self._clock()
                table.used(used)
        except RecoError as err:
            log.debug("keys could not be read: %s", err)

    def follow(self) -> None:
        """Refreshes for ever."""
        while True:
            self.refresh()
            time.sleep(INTERVAL)


class KeyTables:
    """Opens the table of keys of the database that `.env` names now."""

    def __init__(self, env_file: EnvFile, database: Database):
        self._env_file = env_file
        self._database = database
        self._opened: tuple[object, KeyTable] | None = None

    def open(self) -> KeyTable:
        """The same object while `.env` names the same database; raises EnvInvalid or DatabaseUnavailable."""
        engine, people_table = (
            self._database.engine(self._env_file.sql()),
            self._env_file.pick("SQL_TABLE")["sql_table"],
        )
        if self._opened is None or self._opened[0] != (engine, people_table):
            self._opened = ((engine, people_table), KeyTable(engine, people_table))
        return self._opened[1]
