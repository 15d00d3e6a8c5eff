"""Two gateways that share no folder: one object store, one MariaDB."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from deploy.local.rotate_key import add_key
from services.gateway.storage.objects.place import parse_place
from tests.e2e.services import Services
from tests.e2e.system import System
from tests.machine import ROOT
from tests.mariadb import MariaDB
from tests.s3 import BUCKET, ObjectStore

if TYPE_CHECKING:  # its client is not installed everywhere
    from services.gateway.storage.objects.bucket import Bucket

PERSON = "RECO_ID_1"
STAGES = ("detector", "liveness", "embedder")
URI = f"s3://{BUCKET}/two-gateways"
VERIFIED = gateway_pb2.VerifyPersonResponse.OUTCOME_VERIFIED

Gateways = list[gateway_pb2_grpc.GatewayServiceStub]


class TwoGateways:
    """Processes of their own, each with a `.env` and folders of its own; what they store is encrypted."""

    def __init__(self, folder: Path, mariadb: MariaDB):
        self.folders = [folder / "one", folder / "two"]
        for one in self.folders:
            System(one, **mariadb.settings, SQL_TABLE="objects_e2e")  # only for its folders and .env
        self.keys = folder / "keys"
        add_key(self.keys)
        settings = {"PHOTOS_URI": URI, "RECO_ENCRYPTION_KEY_FILE": str(self.keys)}
        self.first = Services(self.folders[0] / ".env", (*STAGES, "gateway"), **settings)
        addresses = {f"RECO_{name.upper()}": f"ipv4:127.0.0.1:{self.first.ports[name]}" for name in STAGES}
        self.second = Services(self.folders[1] / ".env", ("gateway",), **settings, **addresses)

    @property
    def both(self) -> Gateways:
        """Stubs of the two."""
        return [gateway_pb2_grpc.GatewayServiceStub(one.channel("gateway")) for one in (self.first, self.second)]


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, object_store: ObjectStore
) -> Iterator[TwoGateways]:
    system = TwoGateways(tmp_path_factory.mktemp("objects"), mariadb)
    with system.first, system.second:
        yield system


@pytest.fixture(scope="module")
def bucket(object_store: ObjectStore) -> "Bucket":
    from services.gateway.storage.objects.bucket import Bucket

    return Bucket(parse_place(URI))


@pytest.fixture(autouse=True)
def nobody(system: TwoGateways, bucket: "Bucket") -> Iterator[None]:
    """After each test the person is erased, and with them all that was kept."""
    yield
    system.both[1].DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60)
    deadline = time.monotonic() + 30
    while left := [one.key for one in bucket.objects("")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    for folder in system.folders:  # what is on a gateway's own disk is of nobody
        assert not list(folder.rglob("*.png")) and not list((folder / "var" / "uploads").iterdir())


def upload(gateway: gateway_pb2_grpc.GatewayServiceStub, scale: float = 1.0) -> str:
    photo = gateway_pb2.Photo(name="a.jpg", image=jpeg(cv2.convertScaleAbs(astronaut(), alpha=scale)))
    request = gateway_pb2.UploadPhotosRequest(person_id=PERSON, photos=[photo])
    return gateway.UploadPhotos(request, timeout=60).upload_id


def enroll(gateway: gateway_pb2_grpc.GatewayServiceStub, upload_id: str, in_place: bool = False) -> None:
    request = gateway_pb2.EnrollPersonRequest(upload_id=upload_id, name="Eileen", in_place=in_place)
    gateway.EnrollPerson(request, timeout=60)


def erase(gateway: gateway_pb2_grpc.GatewayServiceStub) -> bool:
    return gateway.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60).existed


def is_known(gateway: gateway_pb2_grpc.GatewayServiceStub) -> bool:
    request = gateway_pb2.VerifyPersonRequest(upload_id=upload(gateway, 1.05), skip_liveness=True, skip_search=True)
    try:
        return gateway.VerifyPerson(request, timeout=60).outcome == VERIFIED
    except grpc.RpcError as err:
        assert reason(err) == "NOT_ENROLLED"
        return False


def reason(err: grpc.RpcError) -> str:
    """ErrorInfo's."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(err)
    assert status
    status.details[0].Unpack(info)
    return info.reason


def staged(bucket: "Bucket") -> list[str]:
    return list(bucket.folders("staging/"))


def test_what_one_stores_the_other_knows(system: TwoGateways, bucket: "Bucket"):
    for first, second in (system.both, system.both[::-1]):
        enroll(first, upload(second))
        assert is_known(second) and is_known(first)
        assert len(list(bucket.objects("photos/"))) == 5
        enroll(second, upload(first, 1.1), in_place=True)
        assert is_known(first) and len(list(bucket.objects("photos/"))) == 5
        assert erase(first) and not is_known(second) and not erase(second)
        assert not bucket.has_any("photos/") and not staged(bucket)


def test_what_is_stored_is_encrypted_and_changes_its_key_while_they_run(system: TwoGateways, bucket: "Bucket"):
    enroll(system.both[0], upload(system.both[1]))
    waiting = upload(system.both[0], 1.05)
    before = {one.key: bucket.get(one.key) for one in bucket.objects("")}
    assert len(before) == 7 and not [data for data in before.values() if b"PNG" in data[:9] or b"JFIF" in data]
    add_key(system.keys)
    rotated = subprocess.run(
        [sys.executable, "-m", "services.gateway.rotate"],
        cwd=ROOT, env=system.second.environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [line.split()[0] for line in rotated.stdout.splitlines()] == ["5", "2"]
    assert not [key for key, data in before.items() if bucket.get(key) == data]
    for gateway in system.both:
        verify = gateway_pb2.VerifyPersonRequest(upload_id=waiting, skip_liveness=True, skip_search=True)
        assert gateway.VerifyPerson(verify, timeout=60).outcome == VERIFIED
        enroll(gateway, upload(gateway))  # the earlier photos stay
    assert len(list(bucket.objects("photos/"))) == 15


def test_both_enroll_and_erase_one_person_at_once(system: TwoGateways, bucket: "Bucket"):
    gateways, outcomes = system.both, list[str]()

    def act(number: int) -> None:
        gateway = gateways[number % 2]
        try:
            if number % 4 == 3:
                erase(gateway)
            else:
                enroll(gateway, upload(gateway), in_place=number % 3 == 0)
            outcomes.append("done")
        except grpc.RpcError as err:
            outcomes.append(reason(err))

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(act, range(16)))
    assert "done" in outcomes
    assert set(outcomes) <= {"done", "UPLOAD_UNKNOWN", "PHOTO_MISSING"}  # which an erasure takes along
    assert is_known(gateways[0]) == is_known(gateways[1]) == bucket.has_any("photos/") and not staged(bucket)


def test_a_gateway_is_killed_again_and_again_while_it_enrolls(system: TwoGateways, bucket: "Bucket"):
    """The other one answers for the person at once, and leaves nothing half done."""
    gateways = system.both
    for pause in (0.3, 0.45, 0.6, 0.75):
        upload_id = upload(gateways[0])
        with ThreadPoolExecutor(1) as client:
            enrolling = client.submit(enroll, gateways[0], upload_id)
            time.sleep(pause)
            system.first.kill("gateway")
            with suppress(grpc.RpcError):
                enrolling.result()
        known = is_known(gateways[1])
        assert known == bucket.has_any("photos/")
        if not known:
            enroll(gateways[1], upload_id)
        assert is_known(gateways[1])
        system.first.start("gateway")
        system.first.wait("gateway")
        deadline = time.monotonic() + 90
        while staged(bucket):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert is_known(gateways[0]) and erase(gateways[0])


def test_a_store_that_is_down_is_answered_503_and_is_missed_no_more_when_it_is_back(
    system: TwoGateways, object_store: ObjectStore, bucket: "Bucket"
):
    gateway, other = system.both
    waiting = upload(gateway)
    object_store.stop()
    try:
        for call in (lambda: upload(gateway), lambda: enroll(gateway, waiting)):
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE and reason(refused.value) == "STORAGE_REFUSED"
    finally:
        object_store.start()
    assert not bucket.has_any("photos/") and not staged(bucket)
    enroll(other, waiting)
    assert is_known(gateway)
    object_store.stop()
    try:
        with pytest.raises(grpc.RpcError) as refused:
            erase(gateway)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        object_store.start()
