"""A copy of a stage that is started later gets calls, though nobody restarts the gateways."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from reco.detector.v1 import detector_pb2_grpc

from services.common.server import Server, ServerOptions
from services.common.workers import Workers
from services.detector import quality
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from tests.machine import ROOT, free_port

#: A gateway's client that asks a stage by name until a second copy has answered. Its own /etc/hosts is the name service.
CLIENT = """
import sys, time
from services.gateway.stages.channels import open_channel
from services.gateway.stages.detector import DetectorClient
detector, names = DetectorClient(open_channel(f"dns:///stage.test:{sys.argv[1]}")), set()
deadline = time.monotonic() + 40
while len(names) < 2 and time.monotonic() < deadline:
    score = detector.score(b"").score
    if score not in names:
        names.add(score)
        print(int(score), flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def copies() -> Iterator[int]:
    """Two copies on two addresses and one port; each answers another score."""
    port = free_port()
    with ExitStack() as stack:
        for number in (2, 3):
            server = _copy(f"127.0.0.{number}:{port}", number)
            server.start()
            stack.callback(server.stop, 0)
        yield port


def _copy(address: str, score: int) -> Server:
    answer = quality.Quality(score, quality.Components(*[1.0] * len(quality.Components.__dataclass_fields__)))
    servicer = DetectorServicer(SimpleNamespace(score_image=lambda image: answer), Workers(1))
    options = ServerOptions(address, connection_age=1)
    return Server(
        options, {SERVICE: lambda server: detector_pb2_grpc.add_DetectorServiceServicer_to_server(servicer, server)}
    )


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, for a /etc/hosts of its own")
def test_a_copy_that_the_name_comes_to_stand_for_gets_calls(copies: int, tmp_path: Path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 stage.test\n")
    command = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    client = subprocess.Popen(
        [*command, str(hosts), sys.executable, "-c", CLIENT, str(copies)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout.readline() == "2\n"
        time.sleep(2)  # the first copy's connections come to their end and are made anew, to the same copy
        with hosts.open("a") as file:
            file.write("127.0.0.3 stage.test\n")
        assert client.stdout.readline() == "3\n"
        assert client.wait(timeout=10) == 0
    finally:
        client.kill()
        client.wait()
