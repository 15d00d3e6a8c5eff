"""A call that a copy does not take is tried again, however large its photo."""

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.api import httpbody_pb2
from reco.access.v1 import ext_authz_pb2_grpc
from reco.detector.v1 import detector_pb2_grpc
from reco.gateway.v1 import legacy_pb2, legacy_pb2_grpc

from services.common.limits import MAX_BODY_BYTES, MAX_FORM_BYTES
from services.common.server import Server, ServerOptions
from services.common.workers import Workers
from services.detector import quality
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from services.gateway.access.decision import Access
from services.gateway.access.keyring import AccessKeys
from services.gateway.access.keys import KeyTable
from services.gateway.api.authorisation import AuthorizationServicer
from services.gateway.stages.channels import StageUnavailable, open_channel
from services.gateway.stages.detector import DetectorClient
from tests.e2e.envoy import Envoy
from tests.machine import free_port

SIZES = [1000, 1_000_000, MAX_BODY_BYTES]
FORM_SIZES = [1000, MAX_FORM_BYTES - 100]


def _detector(port: int) -> Server:
    """Scores each photo by its size."""

    def score_image(image: bytes) -> quality.Quality:
        return quality.Quality(len(image), quality.Components(*[1.0] * len(quality.Components.__dataclass_fields__)))

    servicer = DetectorServicer(SimpleNamespace(score_image=score_image), Workers(1))
    add = detector_pb2_grpc.add_DetectorServiceServicer_to_server
    return Server(ServerOptions(f"127.0.0.1:{port}"), {SERVICE: lambda grpc_server: add(servicer, grpc_server)})


@pytest.mark.parametrize("size", SIZES)
def test_the_gateway_waits_for_a_stage_that_is_just_starting(size: int):
    port = free_port()
    client = DetectorClient(open_channel(f"127.0.0.1:{port}"))
    detector = _detector(port)

    def start_late():
        time.sleep(0.5)
        detector.start()

    starting = threading.Thread(target=start_late)
    starting.start()
    try:
        assert client.score(b"x" * size).score == size
    finally:
        starting.join()
        detector.stop(0)


class _Gateways(legacy_pb2_grpc.LegacyServiceServicer):
    """Two gateways: the first call fails, and what is tried again is answered with its size."""

    def __init__(self):
        self.calls = 0

    def Verify(self, request: legacy_pb2.LegacyFormRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        self.calls += 1
        if self.calls == 1:
            raise StageUnavailable("dying")
        return httpbody_pb2.HttpBody(content_type="text/plain", data=b"%d" % len(request.body.data))


def _open_to_all() -> AuthorizationServicer:
    """What a gateway without keys answers Envoy."""
    return AuthorizationServicer(Access(AccessKeys(KeyTable), allow_anonymous=True), lambda event: None)


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[int]:
    """The port of Envoy before two gateways."""
    gateways, ports = _Gateways(), [free_port(), free_port()]
    with ExitStack() as stack:
        for port in ports:
            services = {
                "reco.gateway.v1.LegacyService": partial(legacy_pb2_grpc.add_LegacyServiceServicer_to_server, gateways),
                "envoy.service.auth.v3.Authorization": partial(
                    ext_authz_pb2_grpc.add_AuthorizationServicer_to_server, _open_to_all()
                ),
            }
            server = Server(ServerOptions(f"127.0.0.1:{port}"), services)
            server.start()
            stack.callback(server.stop, 0)
        yield stack.enter_context(Envoy(tmp_path, ports)).port


@pytest.mark.parametrize("size", FORM_SIZES)
def test_envoy_tries_another_gateway_for_a_rest_client(envoy: int, size: int):
    request = urllib.request.Request(f"http://127.0.0.1:{envoy}/verify", b"x" * size, {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.read() == b"%d" % size


@pytest.mark.parametrize("size", FORM_SIZES)
def test_envoy_tries_another_gateway_for_a_grpc_client(envoy: int, size: int):
    request = legacy_pb2.LegacyFormRequest(body=httpbody_pb2.HttpBody(data=b"x" * size))
    with grpc.insecure_channel(f"127.0.0.1:{envoy}", [("grpc.enable_retries", 0)]) as channel:
        assert legacy_pb2_grpc.LegacyServiceStub(channel).Verify(request, timeout=30).data == b"%d" % size
