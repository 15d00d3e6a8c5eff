"""The workspace that `.env` describes, read anew for every request."""

import threading
from pathlib import Path

from sqlalchemy import Engine

from services.common.database import Database
from services.common.env import EnvFile
from services.gateway.env import Env
from services.gateway.storage.locks import DatabaseLocks, LockFiles, open_locks
from services.gateway.storage.log_file import SharedFileHandler
from services.gateway.storage.operations import SqlOperations
from services.gateway.storage.people import SqlPeople
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.stores import Stores
from services.gateway.storage.types import Workspace


class EnvWorkspaces:
    """Opens what `.env` names now; see Workspaces. Safe to use from several threads."""

    def __init__(
        self,
        env_file: EnvFile,
        database: Database,
        log_file: SharedFileHandler,
        stores: Stores,
    ):
        """`stores`: where photos and uploads are."""
        self._stores = stores
        self._env_file = env_file
        self._database = database
        self._log_file = log_file
        self._lock = threading.Lock()
        self._opened: Workspace | None = None
        self._locks: tuple[Engine, Path, LockFiles | DatabaseLocks] | None = None

    def open(self) -> Workspace:
        """The same workspace as before while `.env` says the same; raises EnvInvalid."""
        env = Env(**self._env_file.read())
        with self._lock:
            if self._opened is None or self._opened.env != env:
                self._log_file.follow(env.log_loc)
                engine = self._database.engine(env.sql)
                locks = self._locks_of(engine, env.db_path)
                self._opened = Workspace(
                    env=env,
                    records=SqlRecords(engine, env, locks.holder),
                    people=SqlPeople(engine, env.sql_table),
                    photos=self._stores.photos(env),
                    uploads=self._stores.uploads(env),
                    locks=locks,
                    operations=SqlOperations(engine, env.sql_table, env.selected_models),
                )
            return self._opened

    def _locks_of(self, engine: Engine, folder: Path) -> LockFiles | DatabaseLocks:
        """The same as before, with their connections, while other settings change."""
        if self._locks is None or self._locks[:2] != (engine, folder):
            self._locks = (engine, folder, open_locks(engine, folder))
        return self._locks[2]
