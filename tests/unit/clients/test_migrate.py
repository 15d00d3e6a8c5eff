"""`reco migrate`: what is read of a PuertoRECO installation, and that none of it is changed."""

import hashlib
import sqlite3
from pathlib import Path

import pytest

from reco_client.cli.old import Row, plan_old, read_env, read_rows
from reco_client.cli.plan import Names

NAMES = Names(r"RECO_ID_\d+")


def installation(folder: Path, rows: list[tuple[str, str, str]], **settings: str) -> Path:
    """An .env, a table and DB_PATH as PuertoRECO has them; returns the .env."""
    folder.mkdir(exist_ok=True)
    (folder / "db").mkdir(exist_ok=True)
    with sqlite3.connect(folder / "old.db") as database:
        database.execute("CREATE TABLE `reco table` (id INTEGER PRIMARY KEY, reco_id, reco_name, reco_path)")
        database.executemany("INSERT INTO `reco table` (reco_id, reco_name, reco_path) VALUES (?, ?, ?)", rows)
    database.close()
    pairs = {
        "SQL_URI": "sqlite:///old.db", "SQL_TABLE": "'reco table'", "ID_COL": "reco_id", "NAME_COL": "reco_name",
        "PATH_COL": '"reco_path"', "DB_PATH": "db", **settings,
    }  # fmt: skip
    (folder / ".env").write_text("# old\n" + "".join(f"{key}={value}\n" for key, value in pairs.items() if value))
    return folder / ".env"


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def everything(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_ids_names_and_faces_are_found_and_nothing_else(tmp_path: Path):
    rows = [("RECO_ID_1", "dwayne_johnson", r"I:\face_reco\db\dwayne_johnson-RECO_ID_1"), ("RECO_ID_2", "ann", "gone")]
    env = installation(tmp_path / "old", rows)
    put(tmp_path / "old/db/dwayne_johnson-RECO_ID_1", "faces/1.png", "faces/2.png", "augmented_imgs/3.png")
    put(tmp_path / "old/db/ann-RECO_ID_2", "1.png", "sub/2.png")
    put(tmp_path / "old/db", "representations_facenet.pkl")
    before = everything(tmp_path)
    old = read_env(env)
    plan = plan_old(read_rows(old, env.parent), env.parent / old["DB_PATH"], NAMES)
    found = {one.person_id: (one.name, [path.name for path in one.photos]) for one in plan.people.values()}
    assert found == {"RECO_ID_1": ("Dwayne Johnson", ["1.png", "2.png"]), "RECO_ID_2": ("Ann", ["1.png"])}
    assert plan.refused == [] and everything(tmp_path) == before


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Row("RECO_ID_1", "ann", "/elsewhere/gone"), "the folder is gone, or lies outside DB_PATH"),
        (Row("RECO_ID_1", "ann", ".."), "the folder is gone, or lies outside DB_PATH"),
        (Row("RECO_ID_1", "ann", "link"), "the folder is gone, or lies outside DB_PATH"),
        (Row("RECO_ID_1", "../../outside/x", "\0"), "the folder is gone, or lies outside DB_PATH"),
        (Row("17", "ann", "empty"), "the ID does not match ID_REGEX of the server"),
        (Row("", "ann", "empty"), "the ID does not match ID_REGEX of the server"),
        (Row("RECO_ID_1", "ann", "empty"), "has no photo"),
    ],
)
def test_rows_that_lead_nowhere_are_told(tmp_path: Path, row: Row, why: str):
    put(tmp_path / "outside", "x-RECO_ID_1/faces/1.png", "faces/1.png")
    (tmp_path / "db" / "empty").mkdir(parents=True)
    (tmp_path / "db" / "link").symlink_to(tmp_path / "outside")
    plan = plan_old([row], tmp_path / "db", NAMES)
    assert not plan.people and why in [refused.why for refused in plan.refused]


def test_folders_that_no_row_names_are_told(tmp_path: Path):
    put(tmp_path / "db", "bob-RECO_ID_9/faces/1.png")
    (refused,) = plan_old([], tmp_path / "db", NAMES).refused
    assert (refused.file, refused.why) == ("bob-RECO_ID_9", "no row of the table names it")


def test_rows_of_one_id_are_one_person(tmp_path: Path):
    put(tmp_path / "db", "ann-RECO_ID_1/faces/1.png", "anne-RECO_ID_1/faces/2.png")
    rows = [Row("RECO_ID_1", "ann", ""), Row("RECO_ID_1", "anne", "")]
    (person,) = plan_old(rows, tmp_path / "db", NAMES).people.values()
    assert person.name == "Ann" and len(person.photos) == 2


def test_settings_that_are_missing_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="SQL_TABLE, DB_PATH"):
        read_env(installation(tmp_path, [], SQL_TABLE="", DB_PATH=""))


@pytest.mark.parametrize("wrong", [{"SQL_TABLE": "x` WHERE 1; --"}, {"SQL_URI": "sqlite:///none.db"}])
def test_a_table_that_is_not_there_is_told_and_not_made(tmp_path: Path, wrong: dict[str, str]):
    env = installation(tmp_path, [], **wrong)
    before = everything(tmp_path)
    with pytest.raises(ValueError):
        read_rows(read_env(env), tmp_path)
    assert everything(tmp_path) == before
