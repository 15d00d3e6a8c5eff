"""A proxy in front, set up as docs/proxy.md says: uploads, answers and gRPC pass through it, and clients are told apart."""

import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from reco.gateway.v1 import info_pb2, info_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from tests.e2e.system import System
from tests.machine import ROOT, free_port

Proxy = Callable[[System, tuple[Path, Path], Path, int], list[str]]

LARGE = 3_000_000  # bytes, more than proxies take unless they are told to


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=reco", "-addext", "subjectAltName=DNS:localhost,DNS:reco.example"]
    subprocess.run([*command, *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("proxied")
    environment = {"RECO_ALLOW_ANONYMOUS": "true", "RECO_ENVOY_TRUSTED_PROXIES": "1"}
    with System(folder, SCORE_TOL="5.000", NUM_AUG="0", environment=environment) as system:
        yield system


def written(language: str) -> str:
    """The configuration in the document."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs" / "proxy.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def nginx(system: System, certificate: tuple[Path, Path], folder: Path, port: int) -> list[str]:
    """What starts it; its configuration is in the folder."""
    text = (
        written("nginx").replace("127.0.0.1:8001", f"127.0.0.1:{system.port}").replace("listen 443", f"listen {port}")
    )
    text = text.replace("/etc/ssl/reco.pem", str(certificate[0])).replace(
        "/etc/ssl/private/reco.key", str(certificate[1])
    )
    own = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; {own} {text} }}\n"
    )
    return ["nginx", "-c", str(config)]


def caddy(system: System, certificate: tuple[Path, Path], folder: Path, port: int) -> list[str]:
    """The same of Caddy."""
    text = written("caddy").replace("127.0.0.1:8001", f"127.0.0.1:{system.port}")
    named = f"https://localhost:{port} {{\n    tls {certificate[0]} {certificate[1]}\n"
    config = folder / "Caddyfile"
    config.write_text(
        "{\n    admin off\n    auto_https disable_redirects\n}\n" + text.replace("reco.example {\n", named)
    )
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        _wait(port, process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            connection = http.client.HTTPSConnection(
                "localhost", port, context=ssl._create_unverified_context(), timeout=5
            )
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_it_passes_uploads_answers_and_grpc_on(
    proxy: Proxy, system: System, certificate: tuple[Path, Path], tmp_path: Path
):
    if not shutil.which(proxy.__name__):
        pytest.skip(f"needs {proxy.__name__}")
    port = free_port()
    with running(proxy(system, certificate, tmp_path, port), port):
        context = ssl.create_default_context(cafile=str(certificate[0]))
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
        photo = jpeg(astronaut()) + b"\0" * LARGE
        body = b"--x\r\ncontent-disposition: form-data; name=a; filename=a.jpg\r\n\r\n" + photo + b"\r\n--x--\r\n"
        kind = {"content-type": "multipart/form-data; boundary=x", "x-forwarded-for": "203.0.113.7"}
        connection.request("POST", "/upload_imgs?id=RECO_ID_1", body, kind)
        answer = json.loads(connection.getresponse().read())
        assert answer["upload_code"] == 119, answer
        credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            info = info_pb2_grpc.InfoServiceStub(channel).GetInfo(info_pb2.GetInfoRequest(), timeout=20)
            assert info.version
