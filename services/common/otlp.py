"""Sends traces by OpenTelemetry's protocol, in the background: an endpoint that is slow or gone costs no request anything.

The spans are made here rather than by opentelemetry-instrumentation-grpc, which writes the texts of errors into them
(ours may name a person), and takes a call that ends by abort_with_status for a success.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

#: Seconds that one attempt to send spans may take, and that the last one may hold up the end of the process.
SEND_TIMEOUT = 5
STOP_TIMEOUT = 3

#: Statuses that are errors to whom: by OpenTelemetry's conventions for gRPC all but OK to the caller, these to the callee.
SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}

W3C = TraceContextTextMapPropagator()


class OtlpSpan:
    """The present span of OpenTelemetry's."""

    def __init__(self, span: trace.Span, kind: trace.SpanKind):
        self._span = span
        self._kind = kind

    def headers(self) -> Sequence[tuple[str, str]]:
        headers: dict[str, str] = {}
        W3C.inject(headers)
        return tuple(headers.items())

    def ended(self, code: str) -> None:
        self._span.set_attribute("rpc.response.status_code", code)
        if code != "OK" and (self._kind is trace.SpanKind.CLIENT or code in SERVER_ERRORS):
            self._span.set_status(trace.StatusCode.ERROR)


class OtlpTracing:
    """Makes spans and sends them; how many, how often and how large the variables OTEL_* of the SDK say."""

    def __init__(self, service: str, endpoint: str):
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"reco-{service}"}), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint, timeout=SEND_TIMEOUT)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("reco")

    @contextmanager
    def answering(self, path: str, metadata: Mapping[str, str]) -> Iterator[OtlpSpan]:
        with self._span(path, trace.SpanKind.SERVER, W3C.extract(metadata)) as span:
            yield span

    @contextmanager
    def calling(self, path: str) -> Iterator[OtlpSpan]:
        with self._span(path, trace.SpanKind.CLIENT, context.get_current()) as span:
            yield span

    @contextmanager
    def _span(self, path: str, kind: trace.SpanKind, parent: context.Context) -> Iterator[OtlpSpan]:
        """Keeps the texts of errors to itself."""
        method = path.removeprefix("/")
        with self._tracer.start_as_current_span(
            method,
            parent,
            kind,
            attributes={"rpc.system.name": "grpc", "rpc.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield OtlpSpan(span, kind)

    def stop(self) -> None:
        """Waits no longer than STOP_TIMEOUT."""
        stopping = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        stopping.start()
        stopping.join(STOP_TIMEOUT)
