"""What is left of a person who was erased, and who may read what is there of others."""

import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from sqlalchemy import make_url, text

from deploy.local.demo import astronaut, jpeg
from deploy.local.rotate_key import add_key
from services.common.database import open_engine
from services.common.encryption import MAGIC
from tests.e2e.services import Services
from tests.e2e.system import System
from tests.machine import ROOT

PERSON, NAME = "RECO_ID_424242", "Zebediah Quuxington"


class Running:
    """Services on SQLite, and a client."""

    def __init__(self, folder: Path, services: Services):
        self.folder = folder
        self.services = services
        self._channel = services.channel("gateway")
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._photo = jpeg(astronaut())

    def upload(self) -> str:
        request = gateway_pb2.UploadPhotosRequest(
            person_id=PERSON, photos=[gateway_pb2.Photo(name="a", image=self._photo)]
        )
        return self._gateway.UploadPhotos(request, timeout=60).upload_id

    def enroll(self) -> None:
        request = gateway_pb2.EnrollPersonRequest(upload_id=self.upload(), name=NAME)
        self._gateway.EnrollPerson(request, timeout=60)

    def search(self, upload_id: str = "") -> gateway_pb2.VerifyPersonResponse:
        upload_id = upload_id or self.upload()
        request = gateway_pb2.VerifyPersonRequest(upload_id=upload_id, skip_verify=True, skip_liveness=True)
        return self._gateway.VerifyPerson(request, timeout=60)

    def delete(self) -> bool:
        return bool(self._gateway.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60).existed)

    def templates(self) -> list[bytes]:
        engine = open_engine(make_url(f"sqlite:///{self.folder}/var/reco.db"))
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT vector FROM reco_templates")).scalars().all()
        engine.dispose()
        return [bytes(row) for row in rows]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("erasure")
    System(folder).write_env(NUM_AUG="2")  # only for its folders and .env
    with Services(folder / ".env", ("detector", "embedder", "gateway")) as services:
        yield Running(folder, services)


def test_nothing_is_left_of_who_was_erased(running: Running):
    running.enroll()
    assert running.search().outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME
    templates = running.templates()
    assert len(templates) == 3
    wanted = [PERSON.encode(), b"zebediah_quuxington", NAME.encode(), *templates, *(one[64:192] for one in templates)]
    assert all(any(one in data for data in _files(running.folder).values()) for one in wanted), "there is what to erase"
    assert running.delete()
    left = {path: one for path, data in _files(running.folder).items() for one in wanted if one in data}
    assert not left
    assert not [path for path in (running.folder / "var").rglob("*") if PERSON in path.name]
    assert running.search().outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_NONE
    assert not running.delete()


def test_who_is_not_used_for_long_is_erased_without_a_trace(tmp_path: Path):
    System(tmp_path).write_env(NUM_AUG="1")
    names = ("detector", "embedder", "gateway")
    with Services(tmp_path / ".env", names, RECO_PERSON_TTL="2d") as services:
        running = Running(tmp_path, services)
        running.enroll()
        assert running.search().outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME
        engine = open_engine(make_url(f"sqlite:///{tmp_path}/var/reco.db"))

        def is_noted() -> bool:
            with engine.connect() as connection:
                return connection.execute(text("SELECT day FROM reco_last_uses")).first() is not None

        wait_for(is_noted)
        services.stop("gateway")
        with engine.begin() as connection:
            connection.execute(text("UPDATE reco_last_uses SET day = day - 3"))
        engine.dispose()
        services.start("gateway")
        services.wait("gateway")
        wait_for(lambda: not any(PERSON.encode() in data for data in _files(tmp_path).values()))
        assert not [path for path in (tmp_path / "var").rglob("*") if PERSON in path.name]
        assert running.search().outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_NONE
        erasures = [line for line in (tmp_path / "var/log/audit.log").read_text().splitlines() if '"erase"' in line]
        assert len(erasures) == 1 and f'"key": "retention", "action": "erase", "person": "{PERSON}"' in erasures[0]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_files_are_their_users_alone(running: Running):
    running.enroll()
    running.upload()
    made = [
        path for path in (running.folder / "var").rglob("*") if path.parent != running.folder / "var" or path.is_file()
    ]
    kinds = {path.suffix for path in made if path.is_file()}
    assert {".db", ".db-wal", ".db-shm", ".log", ".png", ".jpg"} <= kinds
    open_to_others = [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not open_to_others
    assert running.delete()


def test_a_key_encrypts_all_and_can_be_changed_meanwhile(tmp_path: Path):
    System(tmp_path).write_env(NUM_AUG="1")
    keys = tmp_path / "keys"
    add_key(keys)
    names = ("detector", "embedder", "gateway")
    with Services(tmp_path / ".env", names, RECO_ENCRYPTION_KEY_FILE=str(keys)) as services:
        running = Running(tmp_path, services)
        running.enroll()
        waiting = running.upload()
        for _ in range(2):
            assert running.search().outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME
            pictures = [data for path, data in _files(tmp_path).items() if path.suffix in (".png", ".jpg")]
            assert len(pictures) >= 5
            assert all(data.startswith(MAGIC) for data in [*pictures, *running.templates()])
            command = [sys.executable, "-m", "deploy.local.rotate_key"]
            done = subprocess.run(
                command, cwd=ROOT, env=services.environment, capture_output=True, text=True, check=True
            )
            assert "templates encrypted" in done.stdout
        keys.write_text(keys.read_text().split()[0])  # the earlier ones are not needed any more
        assert running.search(waiting).outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME
        services.kill("embedder")
        services.start("embedder")
        services.wait("embedder")
        assert running.search().outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME


def _files(folder: Path) -> dict[Path, bytes]:
    """All that the services keep, but for the log, which tells what was refused."""
    files = [path for path in (folder / "var").rglob("*") if path.is_file() and path.suffix != ".log"]
    return {path: path.read_bytes() for path in files}
