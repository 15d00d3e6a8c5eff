"""Backups, restoring, moving between databases, and checking, on SQLite and a real MariaDB, without services."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import text

from deploy.data import agreement, backup, check, move, restore
from deploy.data.archive import writing_backup
from deploy.data.installation import Installation
from services.common.database import writing
from services.common.encryption import KEY_FILE
from services.gateway.access.audit import Event as Audited
from services.gateway.access.audit import append, entries
from services.gateway.access.keys import KeyTable
from services.gateway.access.roles import Role
from tests.installations import MODEL, enroll, make_env
from tests.machine import ROOT
from tests.mariadb import MariaDB

KINDS = ["sqlite", "mariadb"]


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text("correct horse\n")
    return file


@pytest.fixture
def mariadb_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Of an empty schema, which is left empty."""
    server: MariaDB = request.getfixturevalue("mariadb")
    server.empty()
    yield server.settings
    server.empty()


def env_of(request: pytest.FixtureRequest, kind: str, folder: Path, **more: str) -> Path:
    settings = request.getfixturevalue("mariadb_settings") if kind == "mariadb" else {}
    return make_env(folder, **settings, **more)


def people(installation: Installation) -> dict[str, tuple[object, ...]]:
    """All that is stored of each, but for where."""
    found = {}
    for record in installation.records.after(0, 1000):
        profile = installation.people.find(record.record_id)
        photos = [(photo.name, photo.png, photo.landmarks) for photo in installation.photos.read(record.folder)]
        templates = installation.gallery.templates_of(record.person_id, MODEL)
        facts = sorted(installation.people.photos(record.record_id))
        found[record.person_id] = (record.record_id, record.name, profile, photos, facts, templates.vectors.tolist())
    return found


def agrees(installation: Installation) -> bool:
    return agreement.check(installation) == []


@pytest.mark.parametrize(("source", "target"), [("sqlite", "mariadb"), ("mariadb", "sqlite")])
def test_a_backup_is_everything_elsewhere_too(
    request: pytest.FixtureRequest, tmp_path: Path, passphrase: Path, monkeypatch, capsys, source: str, target: str
):
    (tmp_path / "keys").write_text("q" * 43 + "=\n")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "keys"))
    before = Installation(env_of(request, source, tmp_path / "a", NUM_AUG="7"))
    for number in range(12):
        enroll(before, number)
    KeyTable(before.engine, before.env.sql_table).add("door", Role.VERIFY, None)
    append(before.audit_log, Audited("door", "enroll", "RECO_ID_1", "enrolled", "-"))
    with writing(before.engine) as connection:  # a column of somebody else's
        connection.execute(text("ALTER TABLE reco_table ADD COLUMN shoe_size INTEGER"))
        connection.execute(text("UPDATE reco_table SET shoe_size = 43 WHERE reco_id = 'RECO_ID_3'"))
    wanted, file = people(before), tmp_path / "b" / "x.backup"
    assert (
        backup.main(["--env-file", str(before.env_file), "--to", str(file), "--passphrase-file", str(passphrase)]) == 0
    )
    assert "12 people, 24 photos" in capsys.readouterr().out
    assert not list(before.env.db_path.glob(".linked*"))

    (tmp_path / "keys").rename(tmp_path / "elsewhere")  # as on a new machine
    env_file = env_of(request, target, tmp_path / "c", SQL_TABLE="people", ID_COL="who")
    arguments = [str(file), "--env-file", str(env_file), "--passphrase-file", str(passphrase)]
    assert restore.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "12 people, 24 templates: all agree" in printed and "differs in ID_COL, NUM_AUG, " in printed
    after = Installation(env_file)
    assert people(after) == wanted
    assert [key.name for key in KeyTable(after.engine, "people").all()] == ["door"]
    assert [entry.event.person for entry in entries(after.audit_log) if not entry.problem] == ["RECO_ID_1"]
    with writing(after.engine) as connection:
        assert connection.scalars(text("SELECT who FROM people WHERE shoe_size = 43")).all() == ["RECO_ID_3"]
    assert enroll(after, 77).record_id == 13

    assert restore.main(arguments) == 1 and "people already" in capsys.readouterr().err
    assert len(people(after)) == 13


def test_a_backup_that_is_made_while_people_come_and_go_is_whole(request, tmp_path: Path, passphrase: Path, capsys):
    """Whoever was enrolled before is in it, whoever was erased before is not, and each is there whole."""
    before, stop, done = Installation(env_of(request, "sqlite", tmp_path / "a")), Event(), list[int]()
    for number in range(5):
        enroll(before, number)

    def change() -> None:
        for number in range(100, 10_000):
            with before.locks.hold(f"RECO_ID_{number}"):
                enroll(before, number)
            done.append(number)
            if stop.is_set():
                return

    changing = Thread(target=change)
    changing.start()
    for _ in range(2):
        known, file = len(done), tmp_path / "x.backup"
        options = ["--env-file", str(before.env_file), "--to", str(file), "--passphrase-file", str(passphrase)]
        assert backup.main(options) == 0
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
        env_file = make_env(tmp_path / "c")
        assert restore.main([str(file), "--env-file", str(env_file), "--passphrase-file", str(passphrase)]) == 0
        assert "all agree" in capsys.readouterr().out
        assert set(people(Installation(env_file))) >= {f"RECO_ID_{number}" for number in [*range(5), *done[:known]]}
    assert done and changing.is_alive()
    stop.set()
    changing.join()


def test_a_restore_that_is_killed_is_gone_on_with(request, tmp_path: Path, passphrase: Path):
    before = Installation(env_of(request, "sqlite", tmp_path / "a"))
    for number in range(40):
        enroll(before, number)
    file, wanted = tmp_path / "x.backup", people(before)
    options = ["--env-file", str(before.env_file), "--to", str(file), "--passphrase-file", str(passphrase)]
    assert backup.main(options) == 0
    env_file = make_env(tmp_path / "c")
    command = [sys.executable, "-m", "deploy.data.restore", str(file), "--env-file", str(env_file)]
    command += ["--passphrase-file", str(passphrase)]
    moved = tmp_path / "c" / "var" / "db"
    for wait in (lambda: (moved / ".restoring").exists(), lambda: any(moved.glob("ann*")), lambda: None):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while wait() is False and process.poll() is None:
            time.sleep(0.001)
        if wait() is not None:
            process.send_signal(signal.SIGKILL)
        _, complaint = process.communicate(timeout=120)
        if process.returncode == 0:
            break
    assert process.returncode == 0, complaint
    after = Installation(env_file)
    assert people(after) == wanted and agrees(after)
    assert sorted(path.name for path in moved.iterdir() if path.name.startswith(".")) == [".locks"]


def test_what_is_encrypted_is_not_saved_without_its_key(tmp_path: Path, passphrase: Path, monkeypatch, capsys):
    (tmp_path / "keys").write_text("q" * 43 + "=\n")
    env_file = make_env(tmp_path / "a")
    options = ["--env-file", str(env_file), "--to", str(tmp_path / "x.backup"), "--passphrase-file", str(passphrase)]
    with monkeypatch.context() as with_key:
        with_key.setenv(KEY_FILE, str(tmp_path / "keys"))
        enroll(Installation(env_file), 1)
    assert backup.main(options) == 1 and KEY_FILE in capsys.readouterr().err
    assert not (tmp_path / "x.backup").exists()


def test_nothing_is_restored_of_what_does_not_fit(request, tmp_path: Path, passphrase: Path, capsys):
    before = Installation(env_of(request, "sqlite", tmp_path / "a"))
    enroll(before, 1)
    file = tmp_path / "x.backup"
    options = ["--env-file", str(before.env_file), "--to", str(file), "--passphrase-file", str(passphrase)]
    assert backup.main(options) == 0
    env_file = make_env(tmp_path / "c")
    (tmp_path / "other").write_text("another\n")
    assert restore.main([str(file), "--env-file", str(env_file), "--passphrase-file", str(tmp_path / "other")]) == 1
    assert "passphrase does not fit" in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:-20_000])
    assert restore.main([str(file), "--env-file", str(env_file), "--passphrase-file", str(passphrase)]) == 1
    assert "damaged" in capsys.readouterr().err
    after = Installation(env_file)
    assert after.records.count() == 0 and not list((tmp_path / "c" / "var" / "db").glob("ann*"))
    assert not list((tmp_path / "c").glob(".env.*"))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"database.sqlite": b"junk"},
        {"settings.env": b"SQL_TABLE=x\n", "database.sqlite": b"junk"},
        {"settings.env": b"SQL_TABLE=x\n", "encryption.keys": b"\xff\xfe", "database.sqlite": b"junk"},
        {"settings.env": b"SQL_TABLE=x\n", "database.sqlite": b"junk", "var/x": b""},
    ],
)
def test_a_backup_that_somebody_made_up_leaves_nothing(
    tmp_path: Path, passphrase: Path, monkeypatch, files: dict[str, bytes]
):
    (tmp_path / "keys").write_text("q" * 43 + "=\n")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "keys"))
    env_file, file = make_env(tmp_path / "c"), tmp_path / "x.backup"
    with writing_backup(file, "correct horse", {"made": "\x1b[2J"}) as writer:
        for name, data in files.items():
            writer.add_bytes(name, data)
    for there in (True, False):
        if not there:
            env_file.unlink()
        assert restore.main([str(file), "--env-file", str(env_file), "--passphrase-file", str(passphrase)]) == 1
        assert env_file.exists() == there
    made = [path for path in (tmp_path / "c").rglob("*") if path.is_file() and not path.name.startswith("reco.db")]
    assert {path.parent.name for path in made} <= {".locks"}
    assert (tmp_path / "keys").read_text() == "q" * 43 + "=\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_agree_is_named_and_repaired(request, tmp_path: Path, monkeypatch, capsys, kind: str):
    monkeypatch.setattr("deploy.data.index.REACHED_WITHIN", 0.1)
    installation = Installation(env_of(request, kind, tmp_path))
    records = [enroll(installation, number) for number in range(8)]
    db, names = installation.env.db_path, [sorted(installation.photos.names(record.folder)) for record in records]
    assert agrees(installation)
    (db / records[0].folder / "faces" / names[0][0]).unlink()  # a photo is gone: its template and its facts are left
    (db / records[1].folder / "faces" / names[1][0]).write_bytes(b"no picture")
    shutil.rmtree(db / records[2].folder)
    installation.gallery.remove("RECO_ID_3")
    with writing(installation.engine) as connection:
        statement = "DELETE FROM reco_templates WHERE person_id = 'RECO_ID_4' AND photo_id = :name"
        connection.execute(text(statement), {"name": names[4][0]})
        for table, column in (("reco_table", "reco_id"), ("reco_table_profiles", "person_id")):
            connection.execute(text(f"DELETE FROM {table} WHERE {column} = 'RECO_ID_5'"))

    def told(*more: str) -> tuple[int, list[str]]:
        """Exit status, and the lines that name something."""
        status = check.main(["--env-file", str(installation.env_file), "--embedder", "127.0.0.1:1", *more])
        return status, [line for line in capsys.readouterr().out.splitlines() if line.startswith(("RECO_ID", "ann"))]

    status, lines = told()
    assert status == 1 and len(lines) == 8
    for whose, what in (
        ("RECO_ID_0", f"templates of photos that are gone: {names[0][0]} (REPAIR=yes repairs it)"),
        ("RECO_ID_0", f"described by photos that are gone: {names[0][0]}"),
        ("RECO_ID_1", f"{names[1][0]} cannot be read: restore or delete"),
        ("RECO_ID_2", "has no photos"),
        ("RECO_ID_3", "lacks templates of Dlib"),
        ("RECO_ID_4", f"lacks templates of Dlib for {names[4][0]}"),
        ("RECO_ID_5", "is nobody, and has templates"),
        ("ann_5-RECO_ID_5", "is a folder of nobody"),
    ):
        assert any(line.startswith(whose) and what in line for line in lines), (whose, what, lines)
    assert told("--repair")[0] == 1
    status, lines = told()  # templates are made again by services, and what is lost stays lost
    assert status == 1
    assert [line.partition(" ")[0] for line in lines] == [f"RECO_ID_{number}" for number in range(5)]
    assert (db / ".orphans" / "ann_5-RECO_ID_5" / "faces" / names[5][0]).exists()


def test_a_database_moves_to_another_and_the_settings_follow(request, tmp_path: Path, mariadb_settings, capsys):
    env_file = make_env(tmp_path)
    before = Installation(env_file)
    for number in range(10):
        enroll(before, number)
    wanted, old = people(before), env_file.read_text()
    new = tmp_path / ".env.mysql"
    new.write_text(
        "".join(f"{line}\n" for line in old.splitlines() if not line.startswith("SQL_U"))
        + "".join(f"{key}={value}\n" for key, value in mariadb_settings.items())
    )
    arguments = [str(new), "--env-file", str(env_file), "--gateway", "127.0.0.1:1"]
    assert move.main(arguments) == 0 and "all agree" in capsys.readouterr().out
    assert not new.exists() and env_file.with_name(".env.before").read_text() == old
    after = Installation(env_file)
    assert after.engine.dialect.name == "mysql" and people(after) == wanted
    assert people(before) == wanted  # what was there stays
