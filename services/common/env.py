"""The operator's `.env`: every key of the contract, checked one by one, read again whenever the file changes."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from services.common.env_checks import CHECKS
from services.common.errors import RecoError

#: Seconds for which nobody looks whether folders that a file names are still there.
CHECK_INTERVAL = 1.0


@dataclass(frozen=True)
class SqlSettings:
    """Which database: SQL_URI is a MySQL host or a SQLAlchemy URL, to which the others do not matter if it is SQLite's."""

    uri: str
    user: str
    password: str = field(repr=False)
    schema: str


class EnvInvalid(RecoError):
    """The `.env` lacks keys or holds values that do not fit.

    Attributes:
        not_in_env: the missing keys.
        env_errs: one `"KEY: what is wrong and what fits"` for each value that does not fit.
    """

    status = "FAILED_PRECONDITION"
    reason = "ENV_INVALID"

    def __init__(self, not_in_env: list[str], env_errs: list[str]):
        super().__init__("; ".join([f"{key} is missing from .env" for key in not_in_env] + env_errs))
        self.not_in_env = not_in_env
        self.env_errs = env_errs


@dataclass(frozen=True)
class _Fitted:
    """Settings that fitted: what the file said, until when they need not be checked again, and what they mean."""

    values: dict[str, str]
    until: float
    fitting: dict[str, Any]


class EnvFile:
    """Reads one `.env`; mending the file is enough, no restart is needed."""

    def __init__(self, path: Path, check_interval: float = CHECK_INTERVAL):
        """`check_interval`: seconds for which what fitted is taken to fit while the file stays the same."""
        self._check_interval = check_interval
        self._path = path.absolute()
        self._stamp: tuple[int, int, int] | None = None
        self._values: dict[str, str] = {}
        self._fitted: dict[tuple[str, ...], _Fitted] = {}

    @property
    def root(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self._path.parent

    def read(self) -> dict[str, Any]:
        """All settings as they are in the file now, by name in lower case.

        Raises:
            EnvInvalid: naming every key that is missing and every value that does not fit.
        """
        return self.pick(*CHECKS)

    def pick(self, *keys: str) -> dict[str, Any]:
        """Some settings by name in lower case, whatever the others are. Relative paths are taken from the file's folder.

        Raises:
            EnvInvalid: one of them is missing or does not fit.
        """
        values, now = self._read_values(), time.monotonic()
        known = self._fitted.get(keys)
        if known and known.values is values and now < known.until:
            return dict(known.fitting)
        missing = [key for key in keys if key not in values]
        fitting, errors = _parse({key: values[key] for key in keys if key in values}, self.root)
        if missing or errors:
            raise EnvInvalid(missing, errors)
        self._fitted[keys] = _Fitted(values, now + self._check_interval, fitting)
        return dict(fitting)

    def sql(self) -> SqlSettings:
        """The database that the file names now; raises EnvInvalid as `pick` does."""
        picked = self.pick("SQL_URI", "SQL_USER", "SQL_PASS", "SQL_SCHEMA")
        return SqlSettings(*picked.values())

    def _read_values(self) -> dict[str, str]:
        try:
            stat = self._path.stat()
        except OSError as err:
            why = f".env: there is none at {self._path}; copy .env.example there"
            raise EnvInvalid(list(CHECKS), [why]) from err
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp != self._stamp:
            try:
                raw = dotenv_values(self._path, interpolate=False)
            except (OSError, UnicodeDecodeError) as err:
                raise EnvInvalid(list(CHECKS), [f".env: cannot be read: {err}"]) from err
            self._values = {key: value for key, value in raw.items() if value is not None}
            self._stamp = stamp
        return self._values


def _parse(values: dict[str, str], root: Path) -> tuple[dict[str, Any], list[str]]:
    """The values that fit, by key in lower case, and a line for each that does not."""
    fitting, errors = {}, []
    for key, parse in CHECKS.items():
        if key in values:
            try:
                fitting[key.lower()] = parse(values[key].strip(), root)
            except ValueError as err:
                errors.append(f"{key}: {err}")
    return fitting, errors + _check_columns(fitting) + _check_folders(fitting)


def _check_columns(fitting: dict[str, Any]) -> list[str]:
    columns = [str(fitting.get(key, key)).lower() for key in ("id_col", "path_col", "name_col")]
    if len(set(columns)) < 3 or "id" in columns:
        return ["ID_COL: ID_COL, PATH_COL and NAME_COL must name three different columns, none of them ID"]
    return []


def _check_folders(fitting: dict[str, Any]) -> list[str]:
    """Erasing uploads must not take photos along, nor the other way round."""
    photos, uploads = fitting.get("db_path"), fitting.get("upload_folder")
    if photos is None or uploads is None:
        return []
    photos, uploads = photos.resolve(), uploads.resolve()
    if photos.is_relative_to(uploads) or uploads.is_relative_to(photos):
        return ["UPLOAD_FOLDER: it and DB_PATH lie in one another; give each a folder of its own"]
    return []
