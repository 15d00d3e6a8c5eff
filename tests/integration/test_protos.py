"""The protos keep buf's rules, and break nothing that was released: protos/released.binpb, by `make release`."""

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.machine import ROOT

BUF = "@bufbuild/buf@1.75.0"
RELEASED = ROOT / "protos" / "released.binpb"


@pytest.fixture(scope="module")
def buf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: buf, which checks the protos, comes from there")
    folder = tmp_path_factory.mktemp("buf")
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), BUF],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert installed.returncode == 0, installed.stderr
    return folder / "node_modules" / ".bin" / "buf"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The protos beside those of others that they import."""
    others = Path(sysconfig.get_path("purelib"), "google")
    for name in ("api", "rpc"):
        shutil.copytree(others / name, tmp_path / "others" / "google" / name, ignore=shutil.ignore_patterns("*.py*"))
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    rules = (ROOT / "protos" / "buf.yaml").read_text()
    rules = rules.replace("  - path: .\n", "  - path: protos\n  - path: others\n").replace("[reco/", "[protos/reco/")
    (tmp_path / "buf.yaml").write_text(rules)
    (tmp_path / "protos" / "buf.yaml").unlink()
    return tmp_path


def complaints(buf: Path, workspace: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [buf, *arguments, "--error-format", "json"], cwd=workspace, capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (0, 100), done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [f"{one['path']}:{one['start_line']} {one['type']} {one['message']}" for one in found]


def test_the_protos_keep_the_rules(buf: Path, workspace: Path):
    assert complaints(buf, workspace, "lint", "protos") == []
    proto = workspace / "protos" / "reco" / "gateway" / "v1" / "info.proto"
    proto.write_text(proto.read_text().replace("string id_regex", "string idRegex"))
    assert "FIELD_LOWER_SNAKE_CASE" in str(complaints(buf, workspace, "lint", "protos")), "it does look"


def test_what_was_released_still_works(buf: Path, workspace: Path):
    against = ("breaking", "protos", "--against", str(RELEASED))
    assert complaints(buf, workspace, *against) == []
    proto = workspace / "protos" / "reco" / "gateway" / "v1" / "people.proto"
    proto.write_text(proto.read_text().replace("string display_name = 2;", "int32 display_name = 2;"))
    assert "FIELD_" in str(complaints(buf, workspace, *against)), "it does look"
