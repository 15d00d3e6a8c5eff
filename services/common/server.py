"""What every service's server does alike: health, reflection, the boundary, metrics, and a graceful stop."""

import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.interceptor import Boundary
from services.common.limits import MAX_MESSAGE_BYTES
from services.common.metrics import Metrics, serve
from services.common.mutual_tls import CALLERS, Identity, KnownCallers
from services.common.tracing import NoTracing, Tracing

log = logging.getLogger("reco")

#: Seconds that calls under way get to end after SIGTERM.
GRACE = 20

#: Seconds after which a client is asked to connect anew, and that the longest call then gets to end: clients look names
#: up when a connection ends, and so come to know new copies.
MAX_CONNECTION_AGE, MAX_CALL = 30, 600

#: Bytes of a call's headers: Envoy takes 60 KiB, and hands the path of a REST request on twice.
MAX_METADATA = 128 << 10

#: Milliseconds between questions whether this process is there: callers that ask more often are sent away.
MIN_PING = 1000

#: Seconds until a signal is seen.
SIGNAL_INTERVAL = 0.1


@dataclass(frozen=True)
class ServerOptions:
    """How a server listens.

    Attributes:
        address: host:port; port 0 takes a free one.
        threads: calls open at once; most of them wait (for a processor, see workers.py, or for another service).
        queue: calls that may wait for a thread; beyond it they are refused at once (RESOURCE_EXHAUSTED).
        metrics: host:port at which the metrics can be read over HTTP; none where it is empty.
        otlp: where traces are sent, such as http://localhost:4317; nowhere where it is empty.
        connection_age: seconds, see MAX_CONNECTION_AGE.
        read_ahead: whether gRPC takes in megabytes of a stream before they are asked for, when they come quickly.
        identity: shown to callers, who must show theirs; in plain without one.
        callers: names of those who may call, where there is an identity.
    """

    address: str
    threads: int = 64
    queue: int = 32
    metrics: str = ""
    otlp: str = ""
    connection_age: float = MAX_CONNECTION_AGE
    read_ahead: bool = True
    identity: Identity | None = None
    callers: tuple[str, ...] = ()

    @classmethod
    def of(cls, service: str, port: int, read_ahead: bool = True, **more: int) -> "ServerOptions":
        """Those that the environment gives a service, or else the given port of this machine alone."""
        get, name = os.environ.get, f"RECO_{service.upper()}"
        return cls(
            address=get(f"{name}_LISTEN", f"127.0.0.1:{port}"),
            metrics=get(f"{name}_METRICS", ""),
            otlp=get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            read_ahead=read_ahead,
            identity=Identity.of_environment(),
            callers=(CALLERS[service], service),
            **more,
        )


class Server:
    """A gRPC server that says SERVING when `start` returns, and stops gracefully."""

    def __init__(
        self,
        options: ServerOptions,
        services: dict[str, Callable[[grpc.Server], None]],
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ):
        """
        Args:
            services: full service name → function that adds its servicer to a server.
            metrics: the process's; made here if not given, and so without what the service itself counts.
            tracing: no traces if not given.
        """
        self._options = options
        self._metrics = metrics or Metrics("unnamed")
        self._tracing = tracing or NoTracing()
        self._scraped: WSGIServer | None = None
        self._server = grpc.server(
            ThreadPoolExecutor(options.threads, thread_name_prefix="rpc"),
            interceptors=[
                *([KnownCallers(options.callers)] if options.identity else ()),
                Boundary(self._metrics.calls, self._tracing),
            ],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA),
                ("grpc.absolute_max_metadata_size", MAX_METADATA),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.bdp_probe", int(options.read_ahead)),
                ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING),
                ("grpc.max_connection_age_ms", round(1000 * options.connection_age)),
                ("grpc.max_connection_age_grace_ms", 1000 * MAX_CALL),
            ],
            maximum_concurrent_rpcs=options.threads + options.queue,
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for add in services.values():
            add(self._server)
        self._names = (*services, "")
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = (
            options.identity.listen(self._server, options.address)
            if options.identity
            else self._server.add_insecure_port(options.address)
        )

    def start(self) -> None:
        """Listens, and says SERVING."""
        if self._options.metrics:
            self._scraped = serve(self._options.metrics, self._metrics.registry)
        self._server.start()
        for name in self._names:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace: float = GRACE) -> None:
        """Says NOT_SERVING, lets calls under way end, and closes."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        self._tracing.stop()
        if self._scraped:
            self._scraped.shutdown()
            self._scraped.server_close()


def run(server: Server, name: str) -> None:
    """Serves until SIGTERM or SIGINT, then stops gracefully."""
    told: list[int] = []  # no Event: its lock can be held by this very thread when a signal comes
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    gc.collect()
    gc.freeze()  # what is there by now stays: looking through all of it again and again took a tenth of the gateway's time
    server.start()
    log.info("%s serving on port %d", name, server.port)
    while not told:
        time.sleep(SIGNAL_INTERVAL)
    server.stop()
    log.info("%s stopped", name)
