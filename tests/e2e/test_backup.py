"""A running system is backed up, and another that runs and has nobody answers as it did once that is restored there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2

from deploy.local.demo import astronaut, jpeg
from tests.e2e.api import Api, files
from tests.e2e.system import System
from tests.machine import ROOT

PICTURE = {"image": files(jpeg(cv2.flip(astronaut(), 1)))[0]["image"]}


def run(tool: str, *arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-m", f"deploy.data.{tool}", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/gen"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def found(api: Api) -> list[str]:
    status, answer = api.ask("POST", "/v1/faces:identify", PICTURE)
    assert status == 200, answer
    return [one["person"]["display_name"] for one in answer["faces"][0]["candidates"]]


def check(system: System, *more: str) -> tuple[int, str]:
    return run("check", "--env-file", system.folder / ".env", "--embedder", system.address("embedder"), *more)


def test_a_restored_copy_elsewhere_proves_itself(tmp_path: Path):
    (tmp_path / "passphrase").write_text("correct horse\n")
    passphrase, file = ("--passphrase-file", tmp_path / "passphrase"), tmp_path / "a.backup"
    with System(tmp_path / "a", NUM_AUG="1") as first:
        api = Api(first)
        api.create("RECO_ID_1", jpeg(astronaut()), name="Eileen Collins", labels=["staff"])
        assert found(api) == ["Eileen Collins"]
        status, printed = run("backup", "--env-file", first.folder / ".env", "--to", file, *passphrase)
        assert status == 0 and "1 people, 2 photos" in printed, printed
        listed = api.get("/v1/people")
    with System(tmp_path / "b", NUM_AUG="1") as second:
        api = Api(second)
        assert found(api) == []
        status, printed = run("restore", file, "--env-file", second.folder / ".env", *passphrase)
        assert status == 0 and "1 people, 2 templates: all agree" in printed, printed
        assert api.get("/v1/people") == listed and found(api) == ["Eileen Collins"]
        status, printed = check(second)
        assert (status, "all agree" in printed, "not looked at" in printed) == (0, True, False), printed
        shutil.rmtree(second.images / "eileen_collins-RECO_ID_1" / "augmented_imgs")
        status, printed = check(second)
        assert status == 1 and "templates of photos that are gone" in printed, printed
        assert check(second, "--repair")[0] == 0
        assert found(api) == ["Eileen Collins"]  # from the photo that is left
        assert check(second) == (0, "1 people, 1 templates: all agree\n")
