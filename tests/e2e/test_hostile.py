"""What hostile clients send gets a clear answer, and the system goes on as before."""

import http.client
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import cv2
import numpy as np
import pytest

from deploy.local.demo import astronaut, jpeg
from services.common.limits import MAX_BODY_BYTES
from tests.e2e.system import System

PERSON = "RECO_ID_666"


@pytest.fixture(autouse=True)
def still_well(system: System) -> Iterator[None]:
    """Whatever a test has sent, a good request is answered afterwards, and no process has died."""
    yield
    answer = system.client.upload(PERSON, {"good.jpg": jpeg(astronaut())})
    assert answer["upload_code"] == 119
    assert " stopped (rc=" not in system.log()


def bomb_png(width: int, height: int) -> bytes:
    """A small file that claims a gigantic picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def broken_images() -> dict[str, bytes]:
    good = jpeg(astronaut())
    return {
        "empty": b"",
        "text.jpg": b"GET / HTTP/1.1\r\n\r\n" * 50,
        "head only.jpg": good[:400],
        "zeros.png": b"\x89PNG\r\n\x1a\n" + bytes(5000),
        "bomb.png": bomb_png(60_000, 60_000),
        "negative.png": bomb_png(2**31 - 1, 2**31 - 1),
        "nothing.png": bomb_png(0, 0),
        "noise.jpg": b"\xff\xd8" + np.random.default_rng(0).bytes(20_000),
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "movie.gif": b"GIF89a" + bytes(1000),
        "list.webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(100),
    }


def test_broken_images_are_named_and_cost_nothing(system: System):
    answer = system.client.upload(PERSON, broken_images())
    assert answer["upload_code"] == 120
    assert sorted(answer["upload_results"]["errors"]) == sorted(name for name in broken_images())
    assert answer["upload_results"]["scores"] == {}


def test_odd_pictures(system: System):
    """Pictures that decode but are odd are scored, and nothing breaks further on."""
    system.write_env(SCORE_TOL="0.000")
    pictures = {
        "dot.png": cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
        "strip.png": cv2.imencode(".png", np.full((1, 10_000, 3), 128, np.uint8))[1].tobytes(),
        "grey.jpg": jpeg(cv2.cvtColor(astronaut(), cv2.COLOR_BGR2GRAY)),
        "deep.png": cv2.imencode(".png", astronaut().astype(np.uint16) * 257)[1].tobytes(),
    }
    answer = system.client.upload(PERSON, pictures)
    assert answer["upload_code"] == 119 and sorted(answer["upload_results"]["saved"]) == sorted(pictures)
    verified = system.client.verify(answer["upload_results"]["upload_id"], skip_verify=True, skip_liveness=True)
    system.write_env()
    assert verified["recognition_code"] in (500, 100)


def test_file_names_stay_names(system: System):
    names = [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/abs.jpg",
        "a\x01b.jpg",
        "x" * 2000,
        "名前.jpg",
        ".photos.json",
    ]
    before = {path for path in system.folder.rglob("*") if system.uploads not in path.parents}
    answer = system.client.upload(PERSON, {name: jpeg(astronaut()) for name in names})
    assert answer["upload_code"] == 119
    assert len(answer["upload_results"]["saved"]) == len(names)
    assert all("/" not in name and len(name) <= 130 for name in answer["upload_results"]["saved"])
    folder = system.uploads / answer["upload_results"]["upload_id"]
    assert (
        sorted(path.name for path in folder.iterdir() if path.name != ".photos.json")
        == answer["upload_results"]["saved_as"]
    )
    after = {path for path in system.folder.rglob("*") if system.uploads not in path.parents}
    assert {path for path in after - before if "log" not in path.name} == set()


def test_a_body_that_says_it_is_too_large_is_refused(system: System):
    connection = http.client.HTTPConnection("localhost", system.port, timeout=30)
    connection.putrequest("POST", f"/upload_imgs?id={PERSON}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.load(answer)["code"] == 413


def test_a_body_that_turns_out_too_large_is_refused(system: System):
    piece = bytes(1 << 20)

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
        for _ in range(MAX_BODY_BYTES // len(piece) + 2):
            yield piece

    connection = http.client.HTTPConnection("localhost", system.port, timeout=60)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with suppress(BrokenPipeError):  # refused before all was sent
        connection.request("POST", f"/upload_imgs?id={PERSON}", endless(), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert 400 <= answer.status < 500
    assert json.load(answer)["code"] is not None


@pytest.mark.parametrize("path", ["/upload_db", "/verify"])
def test_large_forms_are_no_forms(system: System, path: str):
    answer = system.client.post(path, b"upload_id=" + b"x" * (1 << 20), "application/x-www-form-urlencoded")
    assert next(value for key, value in answer.items() if key.endswith("_code")) == 107


def test_many_parts_and_fields(system: System):
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\nx\r\n'
    answer = system.client.post(
        f"/upload_imgs?id={PERSON}", part * 5000 + b"--x--\r\n", "multipart/form-data; boundary=x"
    )
    assert answer["upload_code"] == 120
    fields = "&".join(f"a{number}=" for number in range(5000)).encode()
    answer = system.client.post("/verify", fields, "application/x-www-form-urlencoded")
    assert answer["recognition_code"] == 107


def test_clients_that_go_away_in_the_middle(system: System):
    head = f"POST /upload_imgs?id={PERSON} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    for _ in range(20):
        with socket.create_connection(("localhost", system.port), timeout=10) as client:
            client.sendall(f"{head}Content-Length: 100000\r\n\r\n--x\r\n".encode())
    assert not list(system.uploads.glob(".unfinished-*"))


def png_of_64_megapixels() -> bytes:
    """200 KB that take a processor a second."""
    picture = np.zeros((8000, 8000, 3), np.uint8)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def test_work_is_given_up_when_its_client_goes(system: System):
    """Of a hundred photos, which are a minute's work, those under way are the last: others are served at once."""
    photo = png_of_64_megapixels()
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n' + photo + b"\r\n"
    body = part * (MAX_BODY_BYTES // 2 // len(part)) + b"--x--\r\n"
    head = f"POST /upload_imgs?id={PERSON} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with socket.create_connection(("localhost", system.port), timeout=30) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(3)
    came = time.monotonic()
    assert system.client.upload(PERSON, {"good.jpg": jpeg(astronaut())})["upload_code"] == 119
    assert time.monotonic() - came < 10
    assert "LegacyService/UploadImgs CANCELLED" in system.log()
    assert not list(system.uploads.glob(".unfinished-*"))


def test_a_client_that_goes_while_it_sends_is_no_fault_of_ours(system: System):
    head = f"POST /upload_imgs?id={PERSON} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with socket.create_connection(("localhost", system.port), timeout=30) as client:
        client.sendall(f"{head}Content-Length: 10000000\r\n\r\n--x\r\n".encode() + bytes(3_000_000))
        time.sleep(0.5)
    time.sleep(0.5)
    assert "UploadImgs INTERNAL" not in system.log() and "Traceback" not in system.log()


def test_garbage_at_once(system: System):
    """Broken requests from many clients; each gets an answer."""
    with ThreadPoolExecutor(16) as executor:
        answers = list(executor.map(lambda _: system.client.upload(PERSON, broken_images())["upload_code"], range(64)))
    assert answers == [120] * 64
