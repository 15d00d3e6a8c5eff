"""What a service counts and times, and how that is read: in Prometheus's text format over HTTP.

Labels are names of methods, statuses, queues, models and outcomes, of which there are few: never anything that a caller
made up, and nothing that identifies a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, start_http_server

#: Upper bounds of a call's time, seconds.
CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

#: Upper bounds of the time that an item waits for a worker, seconds.
WAIT_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class CallMetrics:
    """gRPC calls, named as go-grpc-prometheus does, so that dashboards and alerts made for those names fit."""

    def __init__(self, side: str, registry: CollectorRegistry | None = None):
        """`side`: "server" for calls that are answered here, "client" for those that are made."""
        method = ("grpc_service", "grpc_method")
        self._in_flight = Gauge(f"grpc_{side}_in_flight", "Calls under way.", method, registry=registry)
        self._handled = Counter(f"grpc_{side}_handled", "Calls ended.", (*method, "grpc_code"), registry=registry)
        self._seconds = Histogram(
            f"grpc_{side}_handling_seconds", "Time of a call.", method, buckets=CALL_SECONDS, registry=registry
        )

    def begun(self, path: str) -> None:
        """`path`: such as /reco.detector.v1.DetectorService/DetectFaces, of a method that there is."""
        self._in_flight.labels(*_names(path)).inc()

    def ended(self, path: str, code: str, seconds: float) -> None:
        """`code`: the status's name, such as NOT_FOUND."""
        names = _names(path)
        self._in_flight.labels(*names).dec()
        self._handled.labels(*names, code).inc()
        self._seconds.labels(*names).observe(seconds)


@dataclass(frozen=True)
class QueueMetrics:
    """A queue of work."""

    wait: Histogram
    size: Histogram

    def begun(self, waits: Sequence[float]) -> None:
        """A batch is worked on, whose items have waited for so many seconds each."""
        self.size.observe(len(waits))
        for seconds in waits:
            self.wait.observe(seconds)


class Metrics:
    """What all services have; each process makes one, in its server.py, and hands it to what counts.

    Attributes:
        registry: for what a service adds of its own.
        calls: those that this service answers.
    """

    def __init__(self, service: str):
        self.registry = CollectorRegistry()
        self.calls = CallMetrics("server", self.registry)
        Info("reco_service", "Which service this is.", registry=self.registry).info({"service": service})
        ProcessCollector(registry=self.registry)  # memory, processor time, open files
        self._wait = Histogram(
            "reco_queue_wait_seconds",
            "Time until a worker took an item.",
            ("queue",),
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )
        self._size = Histogram(
            "reco_batch_size", "Items worked on at once.", ("queue",), buckets=BATCH_SIZES, registry=self.registry
        )

    def queue(self, name: str) -> QueueMetrics:
        """Those of the queue of that name."""
        return QueueMetrics(self._wait.labels(name), self._size.labels(name))


def serve(address: str, registry: CollectorRegistry) -> WSGIServer:
    """Answers GET /metrics at host:port, in threads of its own; `shutdown` and `server_close` end it."""
    host, _, port = address.rpartition(":")
    server, _ = start_http_server(int(port), host, registry)
    return server


def _names(path: str) -> list[str]:
    """Service and method."""
    return path.removeprefix("/").split("/", 1)
