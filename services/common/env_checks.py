"""What fits each key of `.env`. A check takes the value and the file's folder, gives what the value means, and raises
ValueError with what is wrong and what fits."""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, Protocol

import re2

from services.common.private import FOLDER_MODE
from services.common.recognisers import known_names

#: Both models together, or one of them; `services/liveness/model.py` knows what is meant.
LIVENESS_MODELS = ("MiniFASNet+FacePluginLiveness", "MiniFASNet", "FacePluginLiveness")

SIM_FUNCS = ("cosine", "euclidean", "euclidean_l2")


def _any(value: str, root: Path) -> str:
    return value


def _url(value: str, root: Path) -> str:
    if not re.fullmatch(r"(https?|file)://\S+", value):
        raise ValueError(f"{value!r} is not a URL; begin it with https://")
    return value


def _file_name(value: str, root: Path) -> str:
    if not re.fullmatch(r"[\w.+-]{1,200}", value) or value.startswith("."):
        raise ValueError(f"{value!r} is not a file name; use letters, digits, '.', '-' and '_'")
    return value


def _path(value: str, root: Path) -> Path:
    if not value or "\0" in value:
        raise ValueError("is empty; give a path")
    return root / PurePath(value)


def _existing_folder(value: str, root: Path) -> Path:
    path = _path(value, root)
    if not path.is_dir():
        raise ValueError(f"{value!r} is not an existing folder; create it or name another")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"{value!r} cannot be written to; change its owner or mode")
    return path


def _file_path(value: str, root: Path) -> Path:
    path = _path(value, root)
    if path.is_dir():
        raise ValueError(f"{value!r} is a folder; name a file")
    return path


def _log_file(value: str, root: Path) -> Path:
    """Makes the folder, where that is missing."""
    path = _file_path(value, root)
    try:
        path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as err:
        raise ValueError(f"{value!r} cannot be written: {err.strerror}; name another file") from err
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{value!r} cannot be written; change its owner or mode, or name another file")
    return path


def _liveness_model(value: str, root: Path) -> str:
    name = _file_name(value, root)
    if not name.lower().endswith(".h5") and name.lower() not in {one.lower() for one in LIVENESS_MODELS}:
        raise ValueError(
            f"{value!r} is not known; choose from {', '.join(LIVENESS_MODELS)}, or a file that ends in .h5"
        )
    return name


def _sql_uri(value: str, root: Path) -> str:
    if "://" in value:
        if not re.match(r"(sqlite|mysql(\+mysqldb)?)://", value):
            raise ValueError("only sqlite:/// and mysql:// URLs are known; or give the MySQL server's host name")
    elif not re.fullmatch(r"[A-Za-z0-9_.-]+(:\d{1,5})?", value):
        raise ValueError(f"{value!r} is not a host (localhost, db:3307) nor a URL (sqlite:///var/reco.db)")
    return value


def _identifier(value: str, root: Path) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}", value):
        raise ValueError(f"{value!r} is not a name for SQL; use 1 to 64 letters, digits, '_', '$' or '-'")
    return value


def _table(value: str, root: Path) -> str:
    if _identifier(value, root).lower() in RESERVED_TABLES:
        raise ValueError(f"{value!r} is a table that this system keeps for itself; name another")
    return value


RESERVED_TABLES = (
    "reco_templates",
    "reco_galleries",
    "reco_revision",
    "reco_removals",
    "reco_collections",
    "reco_enrolments",
    "reco_last_uses",
    "reco_keys",
)


def _whole(lowest: int, highest: int) -> Callable[[str, Path], int]:
    def parse(value: str, root: Path) -> int:
        if not re.fullmatch(r"\d{1,9}", value) or not lowest <= int(value) <= highest:
            raise ValueError(f"{value!r} is not a whole number from {lowest} to {highest}")
        return int(value)

    return parse


def _score(value: str, root: Path) -> float:
    if not re.fullmatch(r"\d{1,2}(\.\d+)?", value) or not 0 <= float(value) <= 10:
        raise ValueError(f"{value!r} is not a decimal number from 0 to 10, such as 7.000")
    return float(value)


def _recognisers(value: str, root: Path) -> tuple[str, ...]:
    known = known_names()
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name.lower() not in known]
    if unknown or not names:
        choice = ", ".join(known.values())
        raise ValueError(f"{', '.join(unknown) or 'the empty list'} is not known; choose from {choice}")
    return tuple(dict.fromkeys(known[name.lower()] for name in names))


def _regex(value: str, root: Path) -> str:
    if not value or len(value) > 1000:
        raise ValueError("must be a pattern of 1 to 1000 characters")
    try:
        compile_id_regex(value)
    except re2.error as err:
        raise ValueError(f"is not a pattern of RE2 syntax (no look-around or back-references): {err}") from err
    return value


class IdPattern(Protocol):
    """A compiled pattern, of which this is used."""

    def fullmatch(self, text: str, /) -> object:
        """None where the text as a whole does not match."""


def compile_id_regex(pattern: str) -> IdPattern:
    """Compiles a pattern in RE2, whose matching time is linear: no pattern and no ID can hang the service."""
    options = re2.Options()
    options.log_errors = False
    compiled: IdPattern = re2.compile(pattern, options)
    return compiled


def _sim_func(value: str, root: Path) -> str:
    if value.lower() not in SIM_FUNCS:
        raise ValueError(f"{value!r} is not known; choose from {', '.join(SIM_FUNCS)}")
    return value.lower()


def _password(value: str, root: Path) -> str:
    wanted = (r".{8,}", r".*[a-z]", r".*[A-Z]", r".*[0-9]", r".*[!@#$%^&*]")
    if not all(re.match(pattern, value) for pattern in wanted):
        raise ValueError(
            "must have at least 8 characters, among them a lower-case letter, an upper-case letter, "
            "a digit and one of !@#$%^&*"
        )
    return value


#: The keys in the order of the contract's table, each with what parses and checks its value.
CHECKS: dict[str, Callable[[str, Path], Any]] = {
    "MODEL_PATH": _path,
    "MODEL_URL": _url,
    "MODEL_NAME": _liveness_model,
    "SQL_URI": _sql_uri,
    "SQL_USER": _any,
    "SQL_PASS": _any,
    "SQL_SCHEMA": _identifier,
    "SQL_TABLE": _table,
    "ID_COL": _identifier,
    "PATH_COL": _identifier,
    "NAME_COL": _identifier,
    "DB_PATH": _existing_folder,
    "TARGET_WIDTH": _whole(32, 1024),
    "TARGET_HEIGHT": _whole(32, 1024),
    "SELECTED_MODELS": _recognisers,
    "ID_REGEX": _regex,
    "NUM_AUG": _whole(0, 64),
    "SIM_FUNC": _sim_func,
    "LOG_LOC": _log_file,
    "VER_TOL": _whole(1, 10000),
    "VER_TOL_AUG": _whole(1, 100000),
    "SUPER_PASSWORD": _password,
    "SCORE_TOL": _score,
    "UPLOAD_FOLDER": _existing_folder,
}
