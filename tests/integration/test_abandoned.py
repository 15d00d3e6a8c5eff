"""Work whose caller has gone stops: in the gateway, and with it in the stages."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import SimpleNamespace

import grpc
import pytest
from reco.detector.v1 import detector_pb2, detector_pb2_grpc

from services.common import call
from services.common.errors import Cancelled
from services.common.server import Server, ServerOptions
from services.common.workers import Workers
from services.detector import quality
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.stages.channels import open_channel
from services.gateway.stages.detector import DetectorClient


class SlowDetector:
    """Scores a photo a time, and takes as long for it as it is let."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.go_on = threading.Event()

    def score_image(self, image: bytes) -> quality.Quality:
        self.begun.append(image)
        self.go_on.wait(10)
        return quality.Quality(9.0, quality.Components(*[1.0] * len(quality.Components.__dataclass_fields__)))


@pytest.fixture
def detector() -> SlowDetector:
    return SlowDetector()


@pytest.fixture
def address(detector: SlowDetector) -> Iterator[str]:
    servicer = DetectorServicer(SimpleNamespace(score_image=detector.score_image), Workers(1))
    add = detector_pb2_grpc.add_DetectorServiceServicer_to_server
    server = Server(ServerOptions("127.0.0.1:0"), {SERVICE: lambda one: add(servicer, one)})
    server.start()
    yield f"127.0.0.1:{server.port}"
    detector.go_on.set()
    server.stop(0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stage_begins_nothing_for_a_client_that_has_gone(detector: SlowDetector, address: str):
    with grpc.insecure_channel(address) as channel:
        stub = detector_pb2_grpc.DetectorServiceStub(channel)
        calls = [stub.ScoreImage.future(detector_pb2.ScoreImageRequest(image=b"%d" % number)) for number in range(8)]
        until(lambda: len(detector.begun) == 1)
        for waiting in calls:
            waiting.cancel()
        time.sleep(0.2)  # until the detector has heard of it
        detector.go_on.set()
        assert stub.ScoreImage(detector_pb2.ScoreImageRequest(image=b"next"), timeout=10).score == 9.0
    assert detector.begun[1:] == [b"next"]


def test_the_gateway_gives_up_its_calls_and_begins_no_more(detector: SlowDetector, address: str):
    client = DetectorClient(open_channel(address))
    photos = [b"%d" % number for number in range(30)]
    request = copy_context()
    caller = request.run(call.begin, "test", 60)
    with ThreadPoolExecutor(4) as executor, ThreadPoolExecutor(1) as answering:
        answer = answering.submit(request.run, map_parallel, executor, client.score, photos)
        until(lambda: len(detector.begun) == 1)
        came = time.monotonic()
        caller.leave()
        with pytest.raises(Cancelled):
            answer.result(5)
        assert time.monotonic() - came < 2
    time.sleep(0.2)
    detector.go_on.set()
    assert DetectorClient(open_channel(address)).score(b"next").score == 9.0
    assert detector.begun[1:] == [b"next"]


def test_an_answered_call_leaves_nothing_with_its_caller(detector: SlowDetector, address: str):
    detector.go_on.set()
    request = copy_context()
    caller = request.run(call.begin, "test", 60)
    request.run(DetectorClient(open_channel(address)).score, b"photo")
    assert caller._told == []
