"""The Python client and `reco` on the real system: real processes, Envoy, photos, kills."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.local.demo import astronaut, jpeg
from reco_client import Client, Conflict, NotAllowed, NotFound, Retries, Unavailable
from reco_client.archive import ArchiveWriter
from tests.e2e.keys import access
from tests.e2e.system import System
from tests.machine import ROOT
from tests.mariadb import MariaDB

MODULE = [sys.executable, "-m", "reco_client"]
STRANGERS = 12


class Line:
    """The command line, at a system."""

    def __init__(self, url: str, key: str = ""):
        self.environment = {
            **os.environ, "PYTHONPATH": str(ROOT / "clients/python/src"), "RECO_URL": url, "RECO_API_KEY": key,
        }  # fmt: skip

    def run(self, *arguments: object, typed: str = "") -> tuple[int, str]:
        """Status, and what is printed."""
        command = [*MODULE, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, input=typed, capture_output=True, text=True, timeout=120, cwd="/"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    def ask(self, *arguments: object) -> tuple[int, Any]:
        """Status and answer with --json."""
        status, printed = self.run(*arguments, "--json")
        return status, json.loads(printed)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("client"), SCORE_TOL="1.000", NUM_AUG="0") as running:
        yield running


@pytest.fixture
def line(system: System) -> Line:
    return Line(f"http://localhost:{system.port}")


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    with Client(f"http://localhost:{system.port}", key="") as client:
        yield client
        for person in list(client.list_people()):
            client.delete_person(person.person_id)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "ann.jpg"
    path.write_bytes(jpeg(astronaut()))
    return path


@pytest.fixture(scope="module")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("landscape") / "wall.jpg"
    path.write_bytes(jpeg(astronaut()[:150, 350:500]))
    return path


def variants(folder: Path, people: int) -> Path:
    """A folder a person, each with two photos that are like nobody else's as files."""
    for number in range(people):
        place = folder / f"Ann_{number}-RECO_ID_{number + 100}"
        place.mkdir(parents=True)
        for turn, pixels in enumerate((astronaut(), cv2.flip(astronaut(), 1))):
            brighter = np.clip(pixels.astype(np.int16) + number, 0, 255).astype(np.uint8)
            (place / f"{turn}.jpg").write_bytes(jpeg(brighter))
    return folder


def test_a_life_by_the_client(client: Client, portrait: Path, landscape: Path):
    created = client.create_person("Ann McLee", [portrait, b"no picture"], labels=["staff"], person_id="RECO_ID_1")
    assert [photo.outcome for photo in created.photos] == ["OUTCOME_ENROLLED", "OUTCOME_UNDECODABLE"]
    assert client.get_person("RECO_ID_1") == created.person
    for picture in (portrait, portrait.read_bytes(), cv2.cvtColor(cv2.imread(str(portrait)), cv2.COLOR_BGR2RGB)):
        (face,) = client.identify(picture, top_k=3, labels=["staff"]).faces
        assert face.candidates[0].person == created.person
    assert client.verify("RECO_ID_1", portrait, skip_liveness=True).person == created.person
    assert client.compare(portrait, portrait).pairs[0].same_person
    assert client.detect(landscape).faces == ()
    assert client.detect(portrait, check_liveness=True).faces[0].liveness is not None
    (added,) = client.add_photos("RECO_ID_1", [cv2.flip(cv2.imread(str(portrait)), 1)[:, :, ::-1]])
    assert added.enrolled and added.photo
    assert client.photo_image("RECO_ID_1", added.photo.photo_id).startswith(b"\x89PNG")
    assert client.get_photo("RECO_ID_1", added.photo.photo_id) in client.list_photos("RECO_ID_1")
    assert client.update_person("RECO_ID_1", labels=[]).labels == ()
    assert [one.person_id for one in client.list_people(name_prefix="ann", page_size=1)] == ["RECO_ID_1"]
    assert not client.delete_photo("RECO_ID_1", added.photo.photo_id)
    with pytest.raises(Conflict) as refused:
        client.create_person("Eve", [portrait], reject_similar=True)
    assert refused.value.reason == "SIMILAR_PEOPLE"
    assert client.delete_person("RECO_ID_1") and not client.delete_person("RECO_ID_1")
    with pytest.raises(NotFound) as gone:
        client.get_person("RECO_ID_1")
    assert gone.value.reason == "NOT_ENROLLED"


def test_a_folder_is_enrolled_and_answers(client: Client, line: Line, portrait: Path, landscape: Path, tmp_path: Path):
    folder = variants(tmp_path / "people", 1)
    (folder / "Nobody").mkdir()
    (folder / "Nobody" / "wall.jpg").write_bytes(landscape.read_bytes())
    assert line.run("enroll", folder, "--dry-run")[0] == 0 and not list(client.list_people())
    status, answer = line.ask("enroll", folder, "--report", tmp_path / "report.csv")
    assert status == 1 and {one["key"]: one["photos"] for one in answer["people"]} == {
        "Ann_0-RECO_ID_100": 2,
        "Nobody": 0,
    }
    assert [(one["file"], one["why"]) for one in answer["refused"]] == [("Nobody/wall.jpg", "it shows no face")]
    assert "Nobody,Nobody/wall.jpg,it shows no face" in (tmp_path / "report.csv").read_text()

    status, (found,) = line.ask("identify", portrait)
    assert status == 0 and found["faces"][0]["candidates"][0]["person"]["display_name"] == "Ann 0"
    assert line.run("identify", portrait, landscape)[0] == 1
    status, (verified,) = line.ask("verify", "RECO_ID_100", portrait, "--skip-liveness")
    assert status == 0 and verified["verified"]
    assert line.run("compare", portrait, portrait)[0] == 0
    assert line.run("detect", portrait)[0] == 0 and line.run("detect", landscape)[0] == 1
    assert line.run("verify", "RECO_ID_9", portrait)[0] == 3
    status, answers = line.ask("verify", "RECO_ID_100", landscape, "--skip-liveness")
    assert status == 3 and answers[0]["error"]["reason"] == "NO_FACE"


def test_people_by_the_command_line(client: Client, line: Line, portrait: Path):
    client.create_person("Ann", [portrait], person_id="RECO_ID_1")
    assert line.ask("people", "rename", "RECO_ID_1", "Ann [red]McLee")[1]["display_name"] == "Ann [red]McLee"
    assert line.ask("people", "label", "RECO_ID_1", "--add", "a", "--add", "b")[1]["labels"] == ["a", "b"]
    assert line.ask("people", "label", "RECO_ID_1", "--remove", "a")[1]["labels"] == ["b"]
    status, shown = line.run("people", "show", "RECO_ID_1")
    assert status == 0 and "Ann [red]McLee" in shown
    status, listed = line.ask("people", "list", "--label", "b")
    assert status == 0 and [one["person_id"] for one in listed] == ["RECO_ID_1"]
    assert line.ask("people", "list", "--label", "a") == (1, [])
    assert line.run("people", "delete", "RECO_ID_1", typed="n\n")[0] == 1 and list(client.list_people())
    assert line.ask("people", "delete", "RECO_ID_1", "--yes") == (0, {"existed": True})
    assert line.run("people", "delete", "RECO_ID_1", "--yes")[0] == 1
    assert line.run("people", "show", "RECO_ID_1")[0] == 3
    assert line.ask("info")[1]["version"]


def test_who_is_enrolled_twice_is_told_and_merged(client: Client, line: Line, portrait: Path):
    assert line.ask("conflicts") == (1, [])
    for number, labels in ((1, ["a"]), (2, ["b"])):
        client.create_person(f"Ann {number}", [portrait], person_id=f"RECO_ID_{number}", labels=labels)
    (pair,) = client.list_conflicts(max_fmr=1e-5)
    assert (pair.person.person_id, pair.other.person_id) == ("RECO_ID_2", "RECO_ID_1") and pair.similarity > 99
    status, shown = line.run("conflicts")
    assert status == 0 and "Ann 2" in shown
    assert line.run("people", "merge", "RECO_ID_1", "RECO_ID_2", typed="n\n")[0] == 1
    assert line.ask("people", "merge", "RECO_ID_1", "RECO_ID_2", "--yes")[1]["labels"] == ["a", "b"]
    assert len(client.list_photos("RECO_ID_1")) == 2 and not list(client.list_conflicts())
    assert line.run("people", "merge", "RECO_ID_1", "RECO_ID_2", "--yes")[0] == 3


def test_an_enrollment_that_is_killed_goes_on(client: Client, line: Line, tmp_path: Path):
    folder = variants(tmp_path / "people", STRANGERS)
    command = [*MODULE, "enroll", str(folder), "--workers", "1"]
    process = subprocess.Popen(command, env=line.environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(client.list_people())) < 3:
        assert process.poll() is None and time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(client.list_people())) < STRANGERS
    status, answer = line.ask("enroll", folder)
    assert status == 0 and len(answer["people"]) == STRANGERS and any(one["before"] for one in answer["people"])
    people = list(client.list_people())
    assert sorted(person.person_id for person in people) == [f"RECO_ID_{number + 100}" for number in range(STRANGERS)]
    assert all(len(client.list_photos(person.person_id)) == 2 for person in people)
    (folder / ".reco-enroll.jsonl").unlink()
    assert line.run("enroll", folder)[0] == 0, "also without the journal nobody is enrolled twice"
    assert all(len(client.list_photos(person.person_id)) == 2 for person in people)


def test_nobody_answers(portrait: Path):
    line = Line("http://127.0.0.1:9")
    assert line.run("--retries", "0", "identify", portrait)[0] == 4
    assert line.ask("--retries", "0", "people", "list")[1]["error"]["status"] == 0


def test_keys_are_asked_for(tmp_path: Path, portrait: Path):
    system = System(tmp_path, SCORE_TOL="1.000")
    make = [sys.executable, "-m", "services.gateway.access", "new", "--name", "door", "--role", "verify"]
    environment = {**os.environ, "RECO_ENV_FILE": str(tmp_path / ".env")}
    key = subprocess.check_output(make, cwd=ROOT, env=environment, text=True, timeout=60).strip()
    url = f"http://localhost:{system.port}"
    with system:
        status, answer = Line(url, "wrong").ask("identify", portrait)
        assert status == 3 and answer["error"]["status"] == 401
        (tmp_path / "key").write_text(f"{key}\n")
        status, answer = Line(url).ask("--key-file", tmp_path / "key", "identify", portrait)
        assert status == 1 and answer[0]["faces"][0]["unknown"]
        with Client(url, key=key) as client, pytest.raises(NotAllowed) as refused:
            client.delete_person("RECO_ID_1")
        assert refused.value.status == 403
    with Client(url, key=key, retries=Retries(0)) as client, pytest.raises(Unavailable):
        client.info()


def old_installation(folder: Path, server: MariaDB) -> Path:
    """PuertoRECO's folders and table, with crops of 224 by 224, as its detector leaves them."""
    rows, photo = [], astronaut()
    for number, pixels in enumerate((photo, cv2.flip(photo, 1))):
        person = folder / "db" / f"ann_mclee-RECO_ID_{number + 1}"
        for part in ("faces", "augmented_imgs"):
            (person / part).mkdir(parents=True)
            face = pixels[60:230, 170:280] if number == 0 else pixels[60:230, 512 - 280 : 512 - 170]
            cv2.imwrite(str(person / part / "1.png"), cv2.resize(face, (224, 224))[:, :, ::-1])
        rows.append((f"RECO_ID_{number + 1}", "ann_mclee", str(person)))
    rows.append(("RECO_ID_3", "gone", str(folder / "db" / "gone-RECO_ID_3")))
    (folder / "db" / "representations_vgg_face.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(
            "CREATE TABLE old_table (id INT AUTO_INCREMENT PRIMARY KEY, reco_id VARCHAR(12), reco_name VARCHAR(200),"
            " reco_path VARCHAR(500))"
        )
        cursor.executemany("INSERT INTO old_table (reco_id, reco_name, reco_path) VALUES (%s, %s, %s)", rows)
    settings = {
        **server.settings, "SQL_TABLE": "old_table", "ID_COL": "reco_id", "NAME_COL": "reco_name",
        "PATH_COL": "reco_path", "DB_PATH": str(folder / "db"),
    }  # fmt: skip
    (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return folder / ".env"


def test_an_old_installation_is_migrated(client: Client, line: Line, mariadb: MariaDB, portrait: Path, tmp_path: Path):
    env = old_installation(tmp_path / "old", mariadb)

    def everything() -> object:
        files = {path: hashlib.sha256(path.read_bytes()).digest() for path in env.parent.rglob("*") if path.is_file()}
        with mariadb.connect() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT * FROM old_table")
            return files, cursor.fetchall()

    before = everything()
    migrate = ["migrate", "--env", env, "--journal", tmp_path / "journal"]
    status, planned = line.ask(*migrate, "--dry-run")
    assert status == 1 and [one["person_id"] for one in planned["people"]] == ["RECO_ID_1", "RECO_ID_2"]
    assert not list(client.list_people()) and not (tmp_path / "journal").exists()
    status, done = line.ask(*migrate)
    assert [(one["person_id"], one["photos"]) for one in sorted(done["people"], key=str)] == [
        ("RECO_ID_1", 1),
        ("RECO_ID_2", 1),
    ]
    assert [(one["person"], one["why"]) for one in done["refused"]] == [
        ("RECO_ID_3", "the folder is gone, or lies outside DB_PATH")
    ]
    assert {one.display_name for one in client.list_people()} == {"Ann Mclee"}
    assert client.verify("RECO_ID_1", portrait, skip_liveness=True).verified
    assert all(one["before"] for one in line.ask(*migrate)[1]["people"])
    assert everything() == before


def test_the_wheel_builds_and_runs_by_itself(tmp_path: Path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    copy = tmp_path / "source"
    subprocess.run(["cp", "-r", ROOT / "clients" / "python", copy], check=True)
    subprocess.run([*build, "--wheel-dir", tmp_path, copy], check=True, timeout=120, cwd=tmp_path)
    (wheel,) = tmp_path.glob("reco_client-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    site = subprocess.check_output([sys.executable, "-c", "import httpx; print(httpx.__path__[0])"], text=True)
    environment = {"PYTHONPATH": str(Path(site).parent), "PATH": os.environ["PATH"]}
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=120, cwd=tmp_path)
    script = (
        "import reco_client as r, pathlib as p; print(r.__file__, (p.Path(r.__file__).parent / 'py.typed').exists())"
    )
    shown = subprocess.check_output([python, "-c", script], env=environment, text=True, cwd=tmp_path)
    assert shown.startswith(str(tmp_path)) and shown.endswith("True\n")
    shown = subprocess.check_output([tmp_path / "venv" / "bin" / "reco", "--help"], env=environment, text=True)
    assert "enroll" in shown


# Administrators


def test_everybody_moves_in_an_archive(
    system: System, client: Client, line: Line, portrait: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    client.create_person("Ann McLee", [portrait], person_id="RECO_ID_1", labels=["staff"], external_id="7")
    client.create_person("Bob", [cv2.flip(cv2.imread(str(portrait)), 1)[:, :, ::-1]], person_id="RECO_ID_2")
    secret, archive = tmp_path / "passphrase", tmp_path / "people.tar"
    secret.write_text("correct horse\n")
    assert line.run("export", archive) == (2, "")  # nobody is there to be asked for a passphrase
    assert line.ask("export", archive, "--passphrase-file", secret)[1]["people"] == 2
    assert b"RECO_ID_1" not in archive.read_bytes()
    with System(tmp_path_factory.mktemp("other"), SCORE_TOL="1.000", NUM_AUG="0") as other:
        there = Line(f"http://localhost:{other.port}")
        assert there.run("import", archive) == (2, "")
        status, report = there.ask("import", archive, "--passphrase-file", secret)
        assert (status, report) == (0, {"imported": 2, "refusals": []})
        assert there.ask("import", archive, "--passphrase-file", secret)[1] == {"unchanged": 2, "refusals": []}
        with Client(f"http://localhost:{other.port}", key="") as theirs:
            came, were = list(theirs.list_people()), list(client.list_people())
            assert [(one.person_id, one.display_name, one.labels, one.create_time) for one in came] == [
                (one.person_id, one.display_name, one.labels, one.create_time) for one in were
            ]
            assert theirs.list_photos("RECO_ID_1") == client.list_photos("RECO_ID_1")
            (photo,) = client.list_photos("RECO_ID_1")
            assert theirs.photo_image("RECO_ID_1", photo.photo_id) == client.photo_image("RECO_ID_1", photo.photo_id)
            assert theirs.verify("RECO_ID_1", portrait, skip_liveness=True).person
            theirs.delete_person("RECO_ID_1")
            theirs.create_person("Eve", [portrait], person_id="RECO_ID_1")
        status, printed = there.run("import", archive, "--passphrase-file", secret)
        assert status == 1 and "RECO_ID_1: person_id: another person has it" in printed


def test_an_import_that_is_killed_goes_on(client: Client, line: Line, portrait: Path, tmp_path: Path):
    client.create_person("Ann McLee", [portrait], person_id="RECO_ID_1")
    (page,) = client.export_people()
    archive = tmp_path / "people.tar"
    with ArchiveWriter(archive) as writer:
        for number in range(40):
            page[0]["person"]["person_id"] = f"RECO_ID_{number + 100}"
            writer.add(page)
    command = [*MODULE, "import", str(archive)]
    notes = tmp_path / ".people.tar.imported"
    with subprocess.Popen(command, env=line.environment, cwd="/", stdout=subprocess.PIPE) as importing:
        while not notes.exists():
            time.sleep(0.01)
        importing.send_signal(signal.SIGKILL)
    pages = json.loads(notes.read_text())["pages"]
    assert 0 < pages < 40
    status, report = line.ask("import", archive)
    assert status == 0 and report.get("imported", 0) + report.get("unchanged", 0) == 40 - pages
    assert len(list(client.list_people())) == 41 and not notes.exists()


def test_operations_uploads_and_the_audit_log(system: System, client: Client, line: Line, portrait: Path):
    client.create_person("Ann McLee", [portrait], person_id="RECO_ID_1")
    status, begun = line.ask("operations", "rebuild")
    assert (status, begun["kind"]) == (0, "KIND_REBUILD")
    while client.get_operation(begun["operation_id"]).state == "STATE_RUNNING":
        time.sleep(0.1)
    upload = system.client.upload("RECO_ID_1", {"a.jpg": portrait.read_bytes()})["upload_results"]["upload_id"]
    assert [one["upload_id"] for one in line.ask("uploads", "list")[1]] == [upload]
    assert upload in line.run("uploads", "list")[1]
    assert line.run("uploads", "delete", upload) == (0, f"{upload} is deleted\n")
    assert line.ask("uploads", "delete", upload) == (0, {"existed": False})
    assert line.ask("operations", "list")[1][0]["state"] == "STATE_SUCCEEDED"
    assert line.ask("operations", "cancel", begun["operation_id"])[1]["state"] == "STATE_SUCCEEDED"
    assert "rebuild by MobileFaceNet" in line.run("operations", "list")[1]
    assert any(one["action"] == "enroll" for one in line.ask("audit", "--limit", 5)[1])
    assert "enroll" in line.run("audit")[1]


def test_keys_are_made_where_there_is_one(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("keys")
    with System(folder, SCORE_TOL="1.000", NUM_AUG="0") as other:
        nobody = Line(f"http://localhost:{other.port}")
        assert nobody.run("keys", "make", "door", "--role", "verify")[0] == 3
        boss = Line(nobody.environment["RECO_URL"], access(folder, "new", "--name", "boss", "--role", "admin"))
        made = eventually(lambda: boss.ask("keys", "make", "door", "--role", "verify", "--lifetime", "90d"))
        door = Line(nobody.environment["RECO_URL"], made["secret"])
        assert eventually(lambda: door.ask("info"))
        assert door.run("keys", "list")[0] == 3
        assert [one["name"] for one in boss.ask("keys", "list")[1]] == ["boss", "door"]
        assert boss.run("keys", "revoke", "door") == (0, "door is revoked\n")
        assert "revoked" in boss.run("keys", "list")[1]


def eventually(ask: Callable[[], tuple[int, Any]]) -> Any:
    """What is answered once the key is known, which takes a second."""
    until = time.monotonic() + 20
    while (answer := ask())[0] != 0:
        assert time.monotonic() < until, answer
        time.sleep(0.2)
    return answer[1]
