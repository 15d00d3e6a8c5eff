"""Every command in README and docs does what it stands there for: those that can be are run, in a clone of their own.

quickstart.md and the first lines of api.md are run by test_people.py, the proxies' settings of proxy.md by test_proxy.py.
Of what needs Docker, Kubernetes or systemd, and of what takes long (`make bench`, `load`, `calibrate`), only the names are
checked.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from deploy.local.demo import astronaut, jpeg
from reco_client.cli.app import app
from tests.documents import DOCUMENTS, Clone, block, blocks
from tests.machine import ROOT
from tests.mariadb import MariaDB

KEY = re.compile(r"^reco_[\w-]{43}$", re.MULTILINE)


@pytest.fixture
def clone(photos: Path, tmp_path: Path) -> Iterator[Clone]:
    """With two photos of a person in it, as a newcomer has them."""
    folder = tmp_path / "clone"
    folder.mkdir()
    with Clone(folder, {"RECO_MIRROR": str(photos / "weights")}) as clone:
        (folder / "one.jpg").write_bytes(jpeg(astronaut()))
        (folder / "two.jpg").write_bytes(jpeg(cv2.flip(astronaut(), 1)))
        shutil.copy(folder / "one.jpg", folder / "ann.jpg")
        yield clone


def make_key(clone: Clone, command: str) -> str:
    """Runs `make key …`; the commands after it find the key in $KEY."""
    (key,) = KEY.findall(clone.run(command))
    clone.environment["KEY"] = key
    return key


def test_the_readme(clone: Clone):
    serve, test = block("README.md", "make run")
    assert test == "make test", "this is it"
    clone.run(serve)
    upload, enroll, verify = block("README.md", "curl -F photo=@one.jpg")
    uploaded = json.loads(clone.run(upload))
    assert uploaded["upload_code"] == 119
    upload_id = uploaded["upload_results"]["upload_id"]
    fill = re.compile(r"RECO_ID_000023-\d+…")
    assert json.loads(clone.run(fill.sub(upload_id, enroll)))["result_code"] == 800
    upload_id = json.loads(clone.run(upload))["upload_results"]["upload_id"]
    assert json.loads(clone.run(fill.sub(upload_id, verify)))["recognition_code"] in (200, 560)
    assert "recognition_code" in clone.run("make demo")

    make, serve, ask = block("README.md", "make key NAME=door")
    make_key(clone, make)
    clone.run(serve)
    url = f"http://localhost:{clone.port}/v1/info"
    assert json.loads(clone.run(ask.replace("…", url).replace("curl ", "curl -s ")))["models"]


def test_encryption_as_the_readme_has_it(clone: Clone, tmp_path: Path):
    (tmp_path / "reco").mkdir()
    clone.replaced["/etc/reco"] = str(tmp_path / "reco")
    *before, rotate = block("README.md", "openssl rand")
    for command in before:
        clone.run(command)
    for command in block("docs/quickstart.md", "curl -s localhost:8001/readyz")[:2]:
        clone.run(command)
    assert "5 photos encrypted by the present key" in clone.run(rotate)
    assert len((tmp_path / "reco" / "key").read_text().split()) >= 2


def test_keys_and_tls(clone: Clone):
    make, listing, revoke = block("docs/security.md", "make key NAME=door")
    make_key(clone, make)
    assert "door" in clone.run(listing)
    clone.run(revoke)
    make_key(clone, "make key NAME=admin ROLE=admin")
    serve = block("docs/security.md", "make mtls")
    for command in serve:
        clone.run(command)
    ask, grpcurl, demo = block("docs/security.md", "curl -H")
    assert json.loads(clone.run(ask))["upload_code"] == 119
    assert grpcurl.startswith("grpcurl -plaintext -H"), "not installed here; test_access.py asks by reflection"
    clone.run(demo)
    cert, serve, ask = block("docs/security.md", "make cert")
    clone.run(cert)
    clone.run(serve)
    url = f"https://localhost:{clone.port}/v1/info"
    assert json.loads(clone.run(ask.replace("…", url)))["models"]


def test_backups(clone: Clone, tmp_path: Path, mariadb: MariaDB):
    (tmp_path / "passphrase").write_text("correct horse\n")
    clone.replaced |= {"/root/reco.passphrase": str(tmp_path / "passphrase"), "/mnt/safe": str(tmp_path)}
    clone.run("make run")
    for command in block("docs/quickstart.md", "curl -s localhost:8001/readyz")[:2]:
        clone.run(command)
    tools = ("backup", "restore", "check-data")
    (save,), (restore,), (check,) = (block("docs/backup.md", f"make {tool}") for tool in tools)
    assert "1 people, 5 photos" in clone.run(save)
    clone.stop()
    for name in ("db", "reco.db", "reco.db-wal", "reco.db-shm"):
        path = clone.folder / "var" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert "1 people, 5 templates: all agree" in clone.run(restore)
    create, copy, move = block("docs/backup.md", "mariadb -e")
    assert "CREATE DATABASE reco CHARACTER SET utf8mb4; GRANT ALL" in create, "as the tests' own server was set up"
    clone.run(copy)
    new = clone.folder / ".env.mysql"
    kept = [line for line in new.read_text().splitlines() if line.partition("=")[0] not in mariadb.settings]
    new.write_text("\n".join([*kept, *(f"{key}={value}" for key, value in mariadb.settings.items())]) + "\n")
    mariadb.empty()
    assert "all agree" in clone.run(move)
    clone.run("make run")
    assert "\n1 people, 5 templates: all agree\n" in f"\n{clone.run(check)}"
    identify = block("docs/quickstart.md", "curl -s localhost:8001/readyz")[2]
    assert "Ann McLee" in clone.run(identify)
    clone.stop()
    mariadb.empty()  # other tests use it too


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_is_there(document: str):
    """Targets of make, modules, and the commands and options of `reco`, in blocks and in the text."""
    targets = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {name for names in targets for name in names.split()}
    text = re.sub(r"`", " ` ", (ROOT / document).read_text())
    assert not set(re.findall(r"\bmake ([a-z][a-z-]+)(?= [A-Z`]| `)", text)) - known - {"sure"}
    commands = [command for commands in blocks(document) for command in commands]
    for module in re.findall(r"python3? -m ((?:deploy|services|tests)[\w.]+)", " ".join(commands)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for command in commands:
        words = command.split()
        while words and "=" in words[0]:
            del words[0]
        if words and words[0] == "reco":
            check_command(words[1:])


def check_command(words: list[str]) -> None:
    """`reco` knows the command, and it has these options."""
    given = [word for word in words if word.startswith("--")]
    names = [word for word in words if not word.startswith("-")]
    for length in (2, 1):
        shown = CliRunner().invoke(app, [*names[:length], "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        if shown.exit_code == 0:
            break
    assert shown.exit_code == 0, words
    general = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    missing = [option for option in given if option not in shown.output and option not in general]
    assert not missing, (words, missing)
