"""What one `.env` names, opened: its settings, database, photos, locks and keys."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from services.common.database import Database
from services.common.encryption import Keyring, keyring_of_environment
from services.common.env import EnvFile
from services.embedder.gallery.store import Gallery
from services.gateway.access.audit import AuditFile
from services.gateway.env import Env
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.locks import open_locks
from services.gateway.storage.objects.place import place_of_environment
from services.gateway.storage.operations import SqlOperations
from services.gateway.storage.people import SqlPeople
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.stores import KeptPhotos, open_stores
from services.gateway.storage.tables import Tables, tables_of
from services.gateway.storage.types import STRIPES

#: `.env`, where a tool is not told another.
ENV_FILE = Path(os.environ.get("RECO_ENV_FILE", ".env"))


class Installation:
    """Where people are kept. The tables are there, and of the present version, once it is opened.

    Attributes:
        env_file: the path of `.env`.
        env: what it says.
        keyring: of RECO_ENCRYPTION_KEY, RECO_ENCRYPTION_KEY_FILE.
    """

    def __init__(self, env_file: Path):
        """Raises EnvInvalid, DatabaseUnavailable, DatabaseRefused; SystemExit where a key is none."""
        self.env_file = env_file
        self.env = Env(**EnvFile(env_file).read())
        self.keyring: Keyring = keyring_of_environment()
        self.engine: Engine = Database(env_file.absolute().parent).engine(self.env.sql)
        self.tables: Tables = tables_of(self.env.sql_table)
        self.locks = open_locks(self.engine, self.env.db_path)
        self.records = SqlRecords(self.engine, self.env, self.locks.holder)
        self.people = SqlPeople(self.engine, self.env.sql_table)
        stores = open_stores(place_of_environment(), UploadLimits(), self.keyring)
        self.photos: KeptPhotos = stores.photos(self.env)
        self.gallery = Gallery(lambda: self.engine, self.keyring)
        self.gallery.revision()
        self.records.count()

    @property
    def audit_log(self) -> Path:
        """The file of the audit log, which need not be there."""
        given = os.environ.get("RECO_AUDIT_LOG")
        return AuditFile(EnvFile(self.env_file), Path(given) if given else None).path

    def answering(self) -> tuple[str, ...]:
        """Names of the models by which people are found."""
        return SqlOperations(self.engine, self.env.sql_table, self.env.selected_models).models().answering

    @contextmanager
    def nobody_changes(self) -> Iterator[None]:
        """Holds the locks of all people: enrollments and erasures, of all gateways, wait for the end of the block.

        Raises:
            DatabaseUnavailable: at the end, where the locks were lost before it.
        """
        with self.locks.hold_stripes(*range(STRIPES)):
            yield
            self.locks.check()
