"""Everything that `.env` points at, opened: folders, table, settings. Read anew for every request."""

import threading
from dataclasses import dataclass

from services.common.database import Database
from services.common.env import Env, EnvFile
from services.gateway.storage.log_file import SharedFileHandler
from services.gateway.storage.photos import ImageDatabase
from services.gateway.storage.records import Records
from services.gateway.storage.uploads import Uploads


@dataclass(frozen=True)
class Workspace:
    """The settings in force for one request and what they name."""

    env: Env
    uploads: Uploads
    images: ImageDatabase
    records: Records

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of stored faces, pixels."""
        return self.env.target_width, self.env.target_height


class Workspaces:
    """Opens the workspace that `.env` describes now."""

    def __init__(self, env_file: EnvFile, database: Database, log_file: SharedFileHandler):
        self._env_file = env_file
        self._database = database
        self._log_file = log_file
        self._lock = threading.Lock()
        self._open: Workspace | None = None

    def open(self) -> Workspace:
        """The workspace of the present `.env`; raises EnvInvalid."""
        env = self._env_file.read()
        with self._lock:
            if self._open is None or self._open.env != env:
                self._log_file.follow(env.log_loc)
                records = Records(self._database.engine(env.sql), env)
                self._open = Workspace(env, Uploads(env.upload_folder), ImageDatabase(env.db_path), records)
            return self._open
