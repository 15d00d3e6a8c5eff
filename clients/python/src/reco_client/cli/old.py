"""An installation of PuertoRECO: who is in its table, and which photos it has of them. Nothing of it is changed."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from .plan import Names, PersonPlan, Plan, Refused, unfit

MAX_ENV_BYTES = 1 << 20
#: Of a person's folder: what it photographed, and beside it what it made of that by augmentation.
FACES = "faces"
_NEEDED = ("SQL_URI", "SQL_TABLE", "ID_COL", "NAME_COL", "PATH_COL", "DB_PATH")


@dataclass(frozen=True)
class Row:
    """Of the table: ID, name in lower case joined by _, and the person's folder."""

    person_id: str
    name: str
    path: str


def read_env(path: Path) -> dict[str, str]:
    """The settings of an `.env`; ValueError where one that is needed is missing."""
    if path.stat().st_size > MAX_ENV_BYTES:
        raise ValueError(f"{path} is too large for an .env")
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        key, is_pair, value = line.strip().removeprefix("export ").partition("=")
        if is_pair and not key.startswith("#"):
            found[key.strip()] = _unquoted(value.strip())
    if missing := [key for key in _NEEDED if not found.get(key)]:
        raise ValueError(f"{path} does not say {', '.join(missing)}")
    return found


def read_rows(env: Mapping[str, str], folder: Path) -> list[Row]:
    """All rows of the table, in the order of the database.

    Args:
        env: of `read_env`.
        folder: that the `.env` lies in.

    Raises:
        ValueError: the database cannot be read, or PyMySQL is not installed.
    """
    names = ", ".join(_identifier(env[key]) for key in ("ID_COL", "NAME_COL", "PATH_COL"))
    query = f"SELECT {names} FROM {_identifier(env['SQL_TABLE'])}"
    uri = env["SQL_URI"]
    rows = (
        _sqlite(folder / uri.removeprefix("sqlite:///"), query) if uri.startswith("sqlite:///") else _mysql(env, query)
    )
    return [Row(*("" if cell is None else str(cell) for cell in row)) for row in rows]


def plan_old(rows: Iterable[Row], db_path: Path, names: Names) -> Plan:
    """Everybody in the table, by the photos in their folders, which lie in `db_path` wherever the table says they do."""
    root = db_path.resolve()
    plan, used = Plan(root), set()
    for row in rows:
        folder = _folder_of(row, root)
        used.add(folder)
        if not row.person_id or not names.fits(row.person_id):
            plan.refused.append(Refused(row.person_id, "the ID does not match ID_REGEX of the server", row.person_id))
        elif folder is None:
            plan.refused.append(Refused(row.path, "the folder is gone, or lies outside DB_PATH", row.person_id))
        else:
            _plan_person(plan, row, folder)
    unnamed = sorted(path for path in root.iterdir() if path.is_dir() and path.resolve() not in used)
    plan.refused += [Refused(path.name, "no row of the table names it") for path in unnamed if path.name[0] != "."]
    return plan


def _plan_person(plan: Plan, row: Row, folder: Path) -> None:
    name = " ".join(word.capitalize() for word in row.name.replace("_", " ").split()) or row.person_id
    person = PersonPlan(row.person_id, name, (), row.person_id)
    faces = folder / FACES
    paths = sorted((faces if faces.is_dir() else folder).iterdir())
    found = False
    for path in paths:
        if path.name.startswith(".") or path.suffix == ".pkl" or path.is_dir():
            continue
        if why := unfit(path, plan.root):
            plan.refused.append(Refused(str(path.relative_to(plan.root)), why, row.person_id))
        else:
            found = True
            plan.add(person, path)
    if not found:
        plan.refused.append(Refused(folder.name, "has no photo", row.person_id))


def _folder_of(row: Row, root: Path) -> Path | None:
    """The person's folder; it may have been written down on another machine, under another path."""
    named = PureWindowsPath(row.path).name  # which takes / and \ for what they are
    for name in (named, f"{row.name}-{row.person_id}"):
        if not name or "\0" in name:
            continue
        folder = (root / name).resolve()
        if folder != root and folder.is_relative_to(root) and folder.is_dir():
            return folder
    return None


def _sqlite(path: Path, query: str) -> list[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return list(connection.execute(query))
    except sqlite3.Error as err:
        raise ValueError(f"{path}: {err}") from None


def _mysql(env: Mapping[str, str], query: str) -> list[tuple[Any, ...]]:
    try:
        import pymysql  # here: whoever migrates from elsewhere, or not at all, does not need it
    except ImportError:
        raise ValueError("MySQL needs PyMySQL: pip install 'reco-client[migrate]'") from None
    host, _, port = env["SQL_URI"].partition(":")
    try:
        connection = pymysql.connect(
            host=host,
            port=int(port or 3306),
            user=env.get("SQL_USER", ""),
            password=env.get("SQL_PASS", ""),
            database=env.get("SQL_SCHEMA"),
            connect_timeout=10,
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("START TRANSACTION READ ONLY")
            return list(_all(cursor, query))
    except (pymysql.Error, ValueError) as err:
        raise ValueError(f"the table at {env['SQL_URI']} cannot be read: {err}") from None


def _all(cursor: Any, query: str) -> Iterator[tuple[Any, ...]]:
    cursor.execute(query)
    yield from cursor


def _identifier(name: str) -> str:
    if "\0" in name:
        raise ValueError("a name of a table or column has a zero byte")
    return "`" + name.replace("`", "``") + "`"


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
