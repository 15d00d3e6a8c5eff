"""What services tell of their calls: metrics over HTTP, spans, log lines. Real servers and a real receiver of traces."""

import logging
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from reco.detector.v1 import detector_pb2, detector_pb2_grpc

from services.common import call
from services.common.errors import DatabaseUnavailable, InvalidImage
from services.common.metrics import CallMetrics, Metrics
from services.common.server import Server, ServerOptions
from services.common.tracing import NoTracing, open_tracing
from services.common.workers import Workers
from services.detector.metrics import DetectorMetrics
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.stages.channels import open_channel
from services.gateway.stages.detector import DetectorClient
from services.gateway.storage.log_file import SharedFileHandler
from tests.e2e.otlp import Receiver, attributes
from tests.machine import free_port

SCORE = {"grpc_service": SERVICE, "grpc_method": "ScoreImage"}
SECRET = "RECO_ID_000023"


class FakeDetector:
    """Scores photos that are b"good"; the others are errors, each of its kind."""

    def __init__(self):
        self.failures: list[Exception] = []
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def score_image(self, data: bytes) -> SimpleNamespace:
        logging.getLogger("reco").info("scoring")
        if self.failures:
            raise self.failures.pop(0)
        if data == b"slow":
            self.inside.set()
            assert self.go_on.wait(30)
        if data == b"bad":
            raise InvalidImage(f"the photo of {SECRET}")
        if data == b"broken":
            raise ZeroDivisionError(SECRET)
        return SimpleNamespace(score=7.5, components=_Components())


class _Components:
    """None of the components of a score."""

    __dataclass_fields__: dict = {}


@pytest.fixture
def detector() -> FakeDetector:
    return FakeDetector()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("detector")


@contextmanager
def serving(detector: FakeDetector, counted: Metrics, **options: str) -> Iterator[str]:
    """A detector's server; gives its address."""
    workers = Workers(1, metrics=counted.queue("detector"))
    servicer = DetectorServicer(detector, workers, DetectorMetrics(counted.registry))
    add = detector_pb2_grpc.add_DetectorServiceServicer_to_server
    tracing = open_tracing("detector", options.get("otlp", ""))
    server = Server(
        ServerOptions("127.0.0.1:0", **options), {SERVICE: lambda server: add(servicer, server)}, counted, tracing
    )
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def score(address: str, image: bytes, **metadata: str) -> grpc.StatusCode:
    """How a call ends."""
    with grpc.insecure_channel(address) as channel:
        stub = detector_pb2_grpc.DetectorServiceStub(channel)
        pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        try:
            stub.ScoreImage(detector_pb2.ScoreImageRequest(image=image), timeout=30, metadata=pairs)
        except grpc.RpcError as err:
            return err.code()
        return grpc.StatusCode.OK


def test_calls_are_counted_by_method_and_status(detector: FakeDetector, metrics: Metrics):
    with serving(detector, metrics) as address:
        for image in (b"good", b"good", b"bad", b"broken"):
            score(address, image)
        with grpc.insecure_channel(address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/{SERVICE}/MadeUp")(b"", timeout=30)
    get = metrics.registry.get_sample_value
    handled = {code: get("grpc_server_handled_total", {**SCORE, "grpc_code": code}) for code in ("OK", "INTERNAL")}
    assert handled == {"OK": 2, "INTERNAL": 1}
    assert get("grpc_server_handled_total", {**SCORE, "grpc_code": InvalidImage.status}) == 1
    assert get("grpc_server_handling_seconds_count", SCORE) == 4
    assert get("grpc_server_in_flight", SCORE) == 0
    assert get("reco_quality_score_sum") == 15
    assert get("reco_queue_wait_seconds_count", {"queue": "detector"}) == 4
    methods = {sample.labels.get("grpc_method") for family in metrics.registry.collect() for sample in family.samples}
    assert methods == {None, "ScoreImage"}, "neither health checks, nor what somebody made up"


def test_a_call_under_way_is_in_flight(detector: FakeDetector, metrics: Metrics):
    with serving(detector, metrics) as address, ThreadPoolExecutor(1) as client:
        ending = client.submit(score, address, b"slow")
        assert detector.inside.wait(30)
        assert metrics.registry.get_sample_value("grpc_server_in_flight", SCORE) == 1
        detector.go_on.set()
        assert ending.result() is grpc.StatusCode.OK


def test_metrics_are_read_over_http_while_the_server_runs(detector: FakeDetector, metrics: Metrics):
    url = f"127.0.0.1:{free_port()}"
    with serving(detector, metrics, metrics=url) as address:
        score(address, b"good")
        text = urllib.request.urlopen(f"http://{url}/metrics", timeout=30).read().decode()
    assert 'reco_service_info{service="detector"} 1.0' in text
    assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE)
    assert f'grpc_server_handled_total{{grpc_code="OK",grpc_method="ScoreImage",grpc_service="{SERVICE}"}} 1.0' in text
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{url}/metrics", timeout=30)


def test_the_gateway_counts_a_call_with_all_its_attempts_once(detector: FakeDetector, metrics: Metrics):
    calls = CallMetrics("client", metrics.registry)
    detector.failures = [DatabaseUnavailable("not yet")] * 2
    with serving(detector, metrics) as address:
        DetectorClient(open_channel(address, calls, NoTracing())).score(b"good")
        with pytest.raises(InvalidImage):
            DetectorClient(open_channel(address, calls, NoTracing())).score(b"bad")
    get = metrics.registry.get_sample_value
    assert get("grpc_server_handled_total", {**SCORE, "grpc_code": "UNAVAILABLE"}) == 2
    assert get("grpc_client_handled_total", {**SCORE, "grpc_code": "UNAVAILABLE"}) is None
    assert get("grpc_client_handled_total", {**SCORE, "grpc_code": "OK"}) == 1
    assert get("grpc_client_handled_total", {**SCORE, "grpc_code": InvalidImage.status}) == 1
    assert get("grpc_client_in_flight", SCORE) == 0


def test_spans_follow_the_request_into_other_threads_and_do_not_tell_who(detector: FakeDetector, metrics: Metrics):
    detector.failures = [DatabaseUnavailable(SECRET)]
    caller = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    with Receiver() as receiver, ThreadPoolExecutor(2) as executor:
        with serving(detector, metrics, otlp=receiver.endpoint) as address:
            tracing = open_tracing("gateway", receiver.endpoint)
            client = DetectorClient(open_channel(address, CallMetrics("client"), tracing))
            with tracing.answering("/reco.gateway.v1.Some/Method", caller) as span:
                map_parallel(executor, client.score, [b"good", b"good"])
                with pytest.raises(InvalidImage):
                    client.score(b"bad")
                span.ended("INVALID_ARGUMENT")
            assert not span.headers(), "the span is still the present one"
            tracing.stop()
        spans = receiver.wait_for(bytes.fromhex("ab" * 16), {"reco-gateway", "reco-detector"})
    (entry,) = [span for service, span in spans if service == "reco-gateway" and span.kind == Span.SPAN_KIND_SERVER]
    calls = {span.span_id: span for _, span in spans if span.kind == Span.SPAN_KIND_CLIENT}
    answers = [span for service, span in spans if service == "reco-detector"]
    assert entry.parent_span_id.hex() == "cd" * 8
    assert entry.status.code == Status.STATUS_CODE_UNSET, "the caller's fault"
    assert {span.parent_span_id for span in calls.values()} == {entry.span_id} and len(calls) == 3
    assert {span.parent_span_id for span in answers} == set(calls) and len(answers) == 4, "one was tried twice"
    codes = sorted(attributes(span.attributes)["rpc.response.status_code"] for span in answers)
    assert codes == sorted(["OK", "OK", "UNAVAILABLE", InvalidImage.status])
    failed = [span for span in calls.values() if span.status.code == Status.STATUS_CODE_ERROR]
    assert [attributes(span.attributes)["rpc.response.status_code"] for span in failed] == [InvalidImage.status]
    assert not [span for _, span in spans if SECRET in str(span)]


def test_opentelemetry_is_not_even_imported_where_no_traces_are_sent():
    code = (
        "import sys\n"
        "from services.common.tracing import open_tracing\n"
        "import services.gateway.server, services.detector.server\n"
        "open_tracing('gateway', '')\n"
        "print(sum(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"


@pytest.mark.parametrize("given", ["8f2c-1.A_b:c/d=e@f~g+h", "x" * 128])
def test_a_plain_request_id_is_in_every_line(given: str, detector, metrics, caplog: pytest.LogCaptureFixture):
    assert ids_logged(detector, metrics, caplog, given) == {given}


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "a;b", "%0a", '"', "a,b"])
def test_another_one_is_replaced(given: str, detector, metrics, caplog: pytest.LogCaptureFixture):
    (used,) = ids_logged(detector, metrics, caplog, given)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", used)


def ids_logged(detector: FakeDetector, metrics: Metrics, caplog: pytest.LogCaptureFixture, given: str) -> set[str]:
    """The ids of the lines that a call logs, one of them in the worker's thread."""
    seen: list[str] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(call.request_id.get())

    recorder, logger = Recorder(), logging.getLogger("reco")
    logger.addHandler(recorder)
    try:
        with caplog.at_level(logging.INFO), serving(detector, metrics) as address:
            score(address, b"bad", x_request_id=given)
    finally:
        logger.removeHandler(recorder)
    assert seen
    return set(seen)


def test_nothing_that_a_caller_sends_makes_a_line_of_its_own(tmp_path):
    handler = SharedFileHandler()
    handler.follow(tmp_path / "log")
    for text in ("a\nb\r\nc", "\x1b[31mred\x7f", "d\u2028e\x85f\u2029g"):
        handler.handle(logging.LogRecord("reco", logging.INFO, "", 0, "%s", (text,), None))
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == [r"a\nb\r\nc", r"\x1b[31mred\x7f", r"d\u2028e\x85f\u2029g"]
