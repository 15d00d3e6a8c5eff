"""The largest bodies that are let in, made up to cost memory and time: the gateway grows by little, and serves others."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat

import pytest

from services.common.limits import MAX_BODY_BYTES
from tests.e2e.envoy import Envoy
from tests.e2e.memory import peak, resident
from tests.e2e.services import Services
from tests.e2e.system import System

#: What the gateway may grow by over what it had when it had answered its first request, bytes.
BOUND = 200_000_000

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
PIECE = 1 << 20


def filled(start: bytes, filling: bytes, end: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A body of MAX_BODY_BYTES that repeats the filling between its start and its end."""

    def pieces() -> Iterator[bytes]:
        piece = filling * (PIECE // len(filling))
        count, rest = divmod(MAX_BODY_BYTES - len(start) - len(end), len(piece))
        return chain((start,), repeat(piece, count), (piece[: rest - rest % len(filling)], end))

    return pieces


def part(data: bytes = b"", more: bytes = b"", name: bytes = b'; filename="a.jpg"') -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="a"%s\r\n%s\r\n%s' % (name, more, data)


END = b"\r\n--x--\r\n"
LARGE = b"\xff\xd8" + bytes(MAX_BODY_BYTES // 10)

BODIES = {
    "percent signs": (URLENCODED, filled(b"photo=", b"%41")),
    "base64": (URLENCODED, filled(b"photo=", b"AAAA")),
    "base64 with escapes": (URLENCODED, filled(b"photo=", b"%2B%2FA+-_=%0D%0A"[:12])),
    "a data URL": (URLENCODED, filled(b"photo=data:image/png;base64,", b"AAAA")),
    "many fields": (URLENCODED, filled(b"", b"a=b&")),
    "ampersands": (URLENCODED, filled(b"a=AAAA", b"&")),
    "a name": (URLENCODED, filled(b"", b"a")),
    "one giant file": (MULTIPART, filled(part(), b"\0", END)),
    "one giant text": (MULTIPART, filled(part(name=b""), b"AAAA", END)),
    "one giant file in base64": (
        MULTIPART,
        filled(part(b"", b"Content-Transfer-Encoding: base64\r\n"), b"AAAA\r\n", END),
    ),
    "nine large files": (MULTIPART, filled((part(LARGE) + b"\r\n") * 9 + part(), b"\0", END)),
    "many small parts": (MULTIPART, filled(b"", part(b"x") + b"\r\n", END)),
    "many empty texts": (MULTIPART, filled(b"", part(name=b"") + b"\r\n", END)),
    "deep headers": (MULTIPART, filled(b"--x\r\n", b"X-A: b\r\n")),
    "a long header": (MULTIPART, filled(b"--x\r\nX-A: ", b"b")),
    "a preamble": (MULTIPART, filled(b"", b"\r\n--", part(b"x") + END)),
    "half boundaries": (MULTIPART, filled(part(), b"\r\n--", END)),
    "no form": ("text/plain", filled(b"", b"\0")),
}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("bodies")
    System(folder)  # only for its folders and .env
    with Services(folder / ".env", ("detector", "gateway"), "127.0.0.1:9") as services:
        yield services


@pytest.fixture(scope="module")
def envoy(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    with Envoy(tmp_path_factory.mktemp("envoy"), [services.ports["gateway"]]) as envoy:
        yield envoy


@pytest.fixture(scope="module")
def before(services: Services, envoy: Envoy) -> int:
    """What the gateway has at rest, bytes."""
    send(envoy, MULTIPART, lambda: iter([part(b"x") + END]))
    return resident(services.pid("gateway"))


def send(envoy: Envoy, content_type: str, pieces: Callable[[], Iterator[bytes]]) -> dict:
    length = sum(map(len, pieces()))
    assert length <= MAX_BODY_BYTES
    connection = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=120)
    headers = {"Content-Type": content_type, "Content-Length": str(length)}
    connection.request("POST", "/upload_imgs?id=RECO_ID_1", pieces(), headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return json.load(answer)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_costs_little_memory(services: Services, envoy: Envoy, before: int, name: str):
    with peak(services.pid("gateway")) as most:
        started = time.monotonic()
        answer = send(envoy, *BODIES[name])
    print(f"{name}: {(most.bytes - before) / 1e6:.0f} MB, {time.monotonic() - started:.1f} s, {answer['upload_code']}")
    assert answer["upload_code"] in (117, 120, 193)
    assert most.bytes - before <= BOUND


def test_four_at_once_leave_room_for_others(services: Services, envoy: Envoy, before: int):
    bodies = [
        BODIES[name] for name in ("percent signs", "one giant file", "nine large files", "one giant file in base64")
    ]
    waited = []
    with peak(services.pid("gateway")) as most, ThreadPoolExecutor(4) as executor:
        sent = [executor.submit(send, envoy, *body) for body in bodies]
        while not all(one.done() for one in sent):
            started = time.monotonic()
            assert send(envoy, MULTIPART, lambda: iter([part(b"x") + END]))["upload_code"] == 120
            waited.append(time.monotonic() - started)
            time.sleep(0.1)
    print(f"four at once: {(most.bytes - before) / 1e6:.0f} MB, others waited {max(waited):.2f} s at most")
    assert [one.result()["upload_code"] in (120, 193) for one in sent] == [True] * 4
    assert most.bytes - before <= 4 * BOUND
    assert max(waited) < 10
