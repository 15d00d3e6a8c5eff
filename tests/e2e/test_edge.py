"""What Envoy does by itself: versions of HTTP, pages of other origins, readiness, too late answers, no inner address."""

import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from tests.e2e.envoy import Envoy
from tests.e2e.system import System

PERSON = "RECO_ID_000778"
ENDPOINTS = ("/upload_imgs", "/upload_db", "/verify")
ORIGIN = "https://door.example"
PART = b"--x\r\nContent-Disposition: form-data; name=a; filename=a.jpg\r\n\r\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    environment = {"RECO_CORS_ORIGINS": f"https://other.example, {ORIGIN}", "RECO_ENVOY_TIMEOUT": "3s"}
    folder = tmp_path_factory.mktemp("edge")
    with System(folder, environment=environment, ID_REGEX=r"[\w +]+") as running:
        yield running


def ask(system: System, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=30)
    connection.request(method, path, body or None, {name.replace("__", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_http_1_0(system: System):
    request = f"GET /upload_imgs?id={PERSON} HTTP/1.0\r\n\r\n", "POST /verify HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
    for text, expected in zip(request, (405, 200), strict=True):
        with socket.create_connection(("127.0.0.1", system.port), timeout=10) as connection:
            connection.sendall(text.encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == expected


def test_headers_with_underscores_are_dropped(system: System):
    status, _, body = ask(system, "POST", "/verify", a_b="c")
    assert (status, json.loads(body)["recognition_code"]) == (200, 107)


@pytest.mark.parametrize("written, meant", [("ann+lee", "ann lee"), ("ann%20lee", "ann lee"), ("ann%2Blee", "ann+lee")])
def test_a_plus_in_an_id_is_a_blank(system: System, written: str, meant: str):
    photo = PART + jpeg(astronaut()) + b"\r\n--x--\r\n"
    answer = system.client.post(f"/upload_imgs?id={written}", photo, "multipart/form-data; boundary=x")
    assert answer["upload_results"]["upload_id"].rpartition("-")[0] == meant


@pytest.mark.parametrize("path", ENDPOINTS)
def test_pages_of_allowed_origins_may_call_the_three_endpoints(system: System, path: str):
    wanted = {"Access__Control__Request__Method": "POST", "Access__Control__Request__Headers": "x-api-key"}
    status, headers, _ = ask(system, "OPTIONS", path, Origin=ORIGIN, **wanted)
    assert (status, headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert headers["access-control-allow-methods"] == "POST"
    assert "x-api-key" in headers["access-control-allow-headers"]
    status, headers, _ = ask(system, "POST", path, Origin=ORIGIN)
    assert (status, headers["access-control-allow-origin"]) == (200, ORIGIN)


@pytest.mark.parametrize(
    "origin, path", [("https://evil.example", "/verify"), (ORIGIN, "/v1/people/x"), (ORIGIN, "/v1/uploads")]
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_other_pages_may_not(system: System, origin: str, path: str, method: str):
    status, headers, _ = ask(system, "OPTIONS", path, Origin=origin, Access__Control__Request__Method=method)
    assert status in (403, 405)
    assert not [name for name in headers if name.startswith("access-control")]
    _, headers, _ = ask(system, method, path, Origin=origin)
    assert not [name for name in headers if name.startswith("access-control")]


class Stopped:
    """A process that does nothing meanwhile."""

    def __init__(self, pid: int):
        self._pid = pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


def upload(system: System) -> tuple[int, dict[str, str], bytes]:
    body = PART + jpeg(astronaut()) + b"\r\n--x--\r\n"
    return ask(system, "POST", f"/upload_imgs?id={PERSON}", body, Content__Type="multipart/form-data; boundary=x")


def test_an_answer_that_is_too_late_is_504_as_json(system: System):
    with Stopped(system.pids("detector")[-1]):
        started = time.monotonic()
        status, _, body = upload(system)
        assert 2 < time.monotonic() - started < 8
    assert (status, json.loads(body)) == (504, {"code": 504, "message": "it took too long"})
    wait_until_ready(system)


def wait_until_ready(system: System) -> None:
    deadline = time.monotonic() + 30
    while ask(system, "GET", "/readyz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("stage", ["detector", "embedder"])
def test_readyz_names_a_stage_that_does_not_serve(system: System, stage: str):
    serving = {"detector": "STATE_SERVING", "liveness": "STATE_SERVING", "embedder": "STATE_SERVING"}
    wait_until_ready(system)
    assert json.loads(ask(system, "GET", "/readyz")[2]) == {"ready": True, "stages": serving}
    with Stopped(system.pids(stage)[-1]):
        time.sleep(1.1)  # an answer is good for a second
        status, headers, body = ask(system, "GET", "/readyz")
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body) == {"ready": False, "stages": {**serving, stage: "STATE_NOT_SERVING"}}
        assert ask(system, "GET", "/healthz")[0] == 200
    wait_until_ready(system)


def test_what_died_is_started_again_and_nothing_tells_inner_addresses(system: System):
    """All services but Envoy are killed, one after the other; what Envoy and the gateway say meanwhile."""
    said = []
    for name in ("detector", "liveness", "embedder", "gateway"):
        os.kill(system.pids(name)[-1], signal.SIGKILL)
        for _ in range(3):
            said += [ask(system, "GET", "/readyz"), upload(system), ask(system, "DELETE", f"/v1/people/{PERSON}")]
            said.append((0, {}, grpc_error(system).encode()))
        while len(system.pids(name)) < 2:
            time.sleep(0.1)
        time.sleep(1.1)  # an answer of /readyz is good for a second
        wait_until_ready(system)
        assert f"{name} stopped (rc=-9); starting it again" in system.log()
    assert upload(system)[0] == 200
    inner = re.compile(rb"127\.0\.0\.1|localhost|ipv4|:%d" % system.base_port)
    assert 503 in {status for status, _, _ in said}
    assert [text for text in said if inner.search(b" ".join((*(v.encode() for v in text[1].values()), text[2])))] == []


def grpc_error(system: System) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{system.port}") as channel:
        try:
            gateway_pb2_grpc.GatewayServiceStub(channel).DeletePerson(
                gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=10
            )
        except grpc.RpcError as err:
            return str(err.details())
    return ""


def test_a_grpc_message_that_is_too_large(system: System):
    photo = gateway_pb2.Photo(image=bytes(17 << 20))
    with grpc.insecure_channel(f"127.0.0.1:{system.port}") as channel, pytest.raises(grpc.RpcError) as refused:
        request = gateway_pb2.UploadPhotosRequest(person_id=PERSON, photos=[photo])
        gateway_pb2_grpc.GatewayServiceStub(channel).UploadPhotos(request, timeout=10)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


def test_one_address_may_not_ask_without_end(tmp_path: Path):
    limits = {"CLIENT_BURST": "5", "CLIENT_RATE": "1"}
    with Envoy(tmp_path, [], **limits) as envoy:
        answers = [asked(envoy.port, "/healthz") for _ in range(8)]
        assert [status for status, _ in answers[:5]] == [200] * 5
        assert answers[-1][0] == 429 and answers[-1][1] == "1"
        assert asked(envoy.port, "/healthz", "10.0.0.1")[0] == 429  # whatever address the client says it has
        time.sleep(1.2)
        assert asked(envoy.port, "/healthz")[0] == 200


def asked(port: int, path: str, forwarded: str = "") -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"x-forwarded-for": forwarded} if forwarded else {})
    answer = connection.getresponse()
    return answer.status, answer.getheader("retry-after")
