"""A call that a stage does not take yet is tried again, however large its photo."""

import threading
import time
from types import SimpleNamespace

import pytest
from reco.detector.v1 import detector_pb2_grpc

from services.common.batcher import Limits, Workers
from services.common.limits import MAX_BODY_BYTES
from services.common.server import Server, ServerOptions
from services.detector import quality
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from services.gateway.channels import open_channel
from services.gateway.clients import DetectorClient
from tests.e2e.system import free_port


def _detector(port: int) -> Server:
    """Scores each photo by its size."""

    def score_image(image: bytes) -> quality.Quality:
        return quality.Quality(len(image), quality.Components(*[1.0] * len(quality.Components.__dataclass_fields__)))

    servicer = DetectorServicer(SimpleNamespace(score_image=score_image), Workers(Limits(1)))
    add = detector_pb2_grpc.add_DetectorServiceServicer_to_server
    return Server(ServerOptions(f"127.0.0.1:{port}"), {SERVICE: lambda grpc_server: add(servicer, grpc_server)})


@pytest.mark.parametrize("size", [1000, 1_000_000, MAX_BODY_BYTES])
def test_a_call_waits_for_a_stage_that_is_just_starting(size: int):
    port = free_port()
    client = DetectorClient(open_channel(f"127.0.0.1:{port}"))
    servers: list[Server] = []

    def start_late():
        time.sleep(0.5)
        servers.append(_detector(port))
        servers[0].start()

    starting = threading.Thread(target=start_late)
    starting.start()
    try:
        assert client.score(b"x" * size).score == size
    finally:
        starting.join()
        servers[0].stop(0)
