"""A full disk: the enrollment is refused, nothing is half-written, and the upload can be tried again."""

import json
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.demo import astronaut, jpeg
from tests.e2e.system import System

PERSON = "RECO_ID_404"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 128 KiB; it can be remounted larger."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root and the right to mount")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(autouse=True)
def restored(system: System) -> Iterator[None]:
    yield
    system.write_env()


def test_enrollment_on_a_full_disk(system: System, small_disk: Path):
    upload_id = system.client.upload(PERSON, {"a.jpg": jpeg(astronaut())})["upload_results"]["upload_id"]
    system.write_env(DB_PATH=str(small_disk))
    assert system.client.upload_db(upload_id, "Eileen")["result_code"] == 150
    assert not list(small_disk.rglob("*.png"))
    assert system.client.verify(upload_id, skip_liveness=True)["recognition_code"] == 116
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert system.client.upload_db(upload_id, "Eileen")["result_code"] == 800
    assert len(list(small_disk.rglob("*.png"))) == 5


def test_upload_on_a_full_disk(system: System, small_disk: Path):
    system.write_env(UPLOAD_FOLDER=str(small_disk))
    noisy = {f"{number}.jpg": jpeg(astronaut(), 100) for number in range(4)}
    with pytest.raises(urllib.error.HTTPError) as refused:
        system.client.upload(PERSON, noisy)
    assert refused.value.code == 503 and refused.value.headers["retry-after"]
    assert "could not be stored" in json.load(refused.value)["message"]
    assert not list(small_disk.iterdir())
