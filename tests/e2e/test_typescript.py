"""The client for TypeScript and JavaScript: built, packed, installed elsewhere, and used against a running system."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from deploy.local.demo import astronaut, jpeg
from tests.e2e.system import System
from tests.machine import ROOT

CLIENT = ROOT / "clients" / "typescript"


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the packed client is installed, beside the compiler that it was built with."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: the client for TypeScript is not built")
    made, used = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("used")
    sources = made / "clients" / "typescript"
    shutil.copytree(CLIENT, sources, ignore=shutil.ignore_patterns("node_modules", "dist", "schema.ts", "*.tgz"))
    (made / "services" / "gateway").mkdir(parents=True)
    shutil.copy(ROOT / "services" / "gateway" / "openapi.json", made / "services" / "gateway")
    run(sources, "npm", "ci", "--no-audit", "--no-fund")
    run(sources, "npm", "pack", "--pack-destination", str(used))
    (package,) = used.glob("*.tgz")
    (used / "package.json").write_text('{"private": true, "type": "module"}')
    run(used, "npm", "install", "--no-audit", "--no-fund", str(package))
    (used / "tsc").symlink_to(sources / "node_modules" / ".bin" / "tsc")
    return used


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with System(tmp_path, SCORE_TOL="5.000", NUM_AUG="0") as system:
        yield system


def test_a_life_by_the_published_package(installed: Path, system: System, tmp_path: Path):
    ann, two = tmp_path / "ann.jpg", tmp_path / "two.jpg"
    ann.write_bytes(jpeg(astronaut()))
    two.write_bytes(jpeg(cv2.flip(astronaut(), 1)))
    shutil.copy(CLIENT / "test" / "life.test.mjs", installed)
    url = f"http://localhost:{system.port}"
    said = run(installed, "node", "--test", "life.test.mjs", RECO_URL=url, ANN=str(ann), TWO=str(two))
    assert "# pass 3" in said and "# fail 0" in said


def test_it_brings_its_types(installed: Path):
    shutil.copy(CLIENT / "test" / "types.ts", installed)
    options = "--strict --noEmit --target es2022 --module nodenext --lib es2023,dom,dom.asynciterable"
    run(installed, "./tsc", *options.split(), "types.ts")


def test_nothing_but_what_is_built_is_published(installed: Path):
    files = {path.name for path in (installed / "node_modules" / "reco-client").rglob("*") if path.is_file()}
    assert {"index.js", "index.d.ts", "package.json", "README.md"} <= files
    assert not [name for name in files if name.endswith((".test.mjs", ".lock")) or name == "index.ts"]
