"""One client cannot hold what others need: slow and large bodies, idle connections, many requests."""

import http.client
import json
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import cv2
import pytest

from deploy.local.demo import astronaut, jpeg
from services.gateway.api.codes import MESSAGES
from tests.e2e.system import System

PERSON = "RECO_ID_000777"
FORM = urllib.parse.urlencode(
    {"upload_id": f"{PERSON}-1", "skip_verify": "false", "skip_db_search": "false", "skip_liveness": "true"}
)
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"

#: What Envoy may take in all, MB.
ENVOY_MEMORY = 256


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose patience ends after few seconds; verifying needs no model."""
    quick = {"FORM_TIMEOUT": "2s", "UPLOAD_IDLE_TIMEOUT": "2s", "TIMEOUT": "20s"}
    environment = {f"RECO_ENVOY_{name}": value for name, value in quick.items()}
    environment |= {"RECO_GATEWAY_UPLOAD_PAUSE": "2", "RECO_CORS_ORIGINS": "https://door.example"}
    with System(tmp_path_factory.mktemp("slow"), environment=environment) as running:
        yield running


def head(path: str, content_type: str, length: int) -> bytes:
    lines = f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", f"Content-Length: {length}"
    return "\r\n".join((*lines, "", "")).encode()


@contextmanager
def held(system: System, count: int, start: bytes = b"") -> Iterator[list[socket.socket]]:
    """That many connections that have sent the beginning of a request, and then nothing."""
    with ExitStack() as open_ones:
        sockets = [socket.create_connection(("127.0.0.1", system.port), timeout=20) for _ in range(count)]
        for connection in sockets:
            open_ones.enter_context(connection)
            connection.sendall(start)
        time.sleep(0.3)
        yield sockets


def answers(system: System) -> tuple[int, float]:
    """The code of a good request, and how many seconds it took."""
    started = time.monotonic()
    code = system.client.post("/verify", FORM.encode(), URLENCODED)["recognition_code"]
    return code, time.monotonic() - started


def status(connection: socket.socket) -> int:
    """Of the answer to what was sent; the connection is closed afterwards."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert "in time" in json.load(answer)["message"]
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    return answer.status


def envoy_memory(system: System) -> float:
    """MB."""
    (pid,) = system.pids("envoy")
    (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(resident) / 1024


UPLOAD = f"/upload_imgs?id={PERSON}"
SLOW = {
    "form": (head("/verify", URLENCODED, 60_000) + b"u", 408),
    "json": (head("/v1/people:verify", "application/json", 60_000) + b"{", 408),
    "json with photos": (head("/v1/uploads", "application/json", 60_000) + b"{", 408),
    "upload": (head(UPLOAD, MULTIPART, 60_000) + b"--x\r\n", 504),
    "upload of which nothing comes": (head(UPLOAD, MULTIPART, 60_000), 504),
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("count", [32, 500])
def test_slow_bodies_cost_nobody_anything_and_are_closed(system: System, kind: str, count: int):
    start, expected = SLOW[kind]
    with held(system, count, start) as connections:
        code, seconds = answers(system)
        assert code == 189 and seconds < 2
        assert system.client.upload(PERSON, {"me.jpg": jpeg(astronaut())})["upload_code"] == 119
        assert {status(connection) for connection in connections} == {expected}
    assert envoy_memory(system) < ENVOY_MEMORY


def test_an_upload_over_a_slow_line_arrives(system: System):
    """It takes longer than a silent client is waited for."""
    photo = jpeg(cv2.resize(astronaut(), (2048, 2048)))
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
    body = part + photo + b"\r\n--x--\r\n"
    pieces = [body[i : i + len(body) // 9] for i in range(0, len(body), len(body) // 9)]
    with socket.create_connection(("127.0.0.1", system.port), timeout=20) as connection:
        connection.sendall(head(UPLOAD, MULTIPART, len(body)))
        for piece in pieces:
            time.sleep(0.5)
            connection.sendall(piece)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert json.load(answer)["upload_code"] == 119


def test_idle_connections(system: System):
    with held(system, 1000):
        assert answers(system)[0] == 189
        assert envoy_memory(system) < ENVOY_MEMORY


@pytest.mark.parametrize(
    "path, content_type", [("/verify", URLENCODED), (UPLOAD, MULTIPART), ("/v1/uploads", "application/json")]
)
def test_large_bodies_that_are_held(system: System, path: str, content_type: str):
    piece = bytes(1 << 20)
    with held(system, 12, head(path, content_type, 60 << 20)) as connections:
        for connection in connections:
            with suppress(OSError):  # what is too large is refused before all was sent
                for _ in range(59):
                    connection.sendall(piece)
        code, seconds = answers(system)
        assert code == 189 and seconds < 2
        assert envoy_memory(system) < ENVOY_MEMORY


def test_hundreds_of_uploads_that_are_held(system: System):
    """Each small enough to be kept for another gateway."""
    with held(system, 500, head(UPLOAD, MULTIPART, 60 << 20) + bytes(400_000)):
        code, seconds = answers(system)
        assert code == 189 and seconds < 2
        assert envoy_memory(system) < ENVOY_MEMORY


@pytest.mark.parametrize("path, code_key", [("/verify", "recognition_code"), ("/upload_db", "result_code")])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_above_64_kb_is_none(system: System, path: str, code_key: str, chunked: bool):
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=20)
    body = b"upload_id=" + b"x" * 65_536
    connection.request("POST", path, iter([body]) if chunked else body, {"Content-Type": URLENCODED})
    answer = connection.getresponse()
    read = json.load(answer)
    assert (answer.status, read[code_key], list(read)[1].endswith("_message")) == (200, 107, True)
    assert MESSAGES[107] in read.values() and len(read) == 4


def test_json_without_photos_is_small(system: System):
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=20)
    connection.request("POST", "/v1/people:verify", b"{" + b" " * 65_536 + b"}", {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["code"]) == (413, 413)
