"""A receiver of traces that speaks OpenTelemetry's protocol, as a collector does."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

#: Seconds that spans are waited for.
PATIENCE = 30


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent; a context manager that listens."""

    def __init__(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._came = threading.Condition()
        self._spans: list[tuple[str, Span]] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        sent = [
            (attributes(resource.resource.attributes)["service.name"], span)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._came:
            self._spans += sent
            self._came.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, trace_id: bytes, services: set[str]) -> list[tuple[str, Span]]:
        """The spans of a trace with their services' names, once all of these have sent some."""

        def complete() -> bool:
            return services <= {service for service, _ in self._of(trace_id)}

        with self._came:
            assert self._came.wait_for(complete, PATIENCE), [(name, span.name) for name, span in self._of(trace_id)]
            return self._of(trace_id)

    def wait_for_request(self, request_id: str) -> bytes:
        """The id of the trace that a request's span in Envoy belongs to, once it was sent."""

        def found() -> bytes | None:
            traces = (
                span.trace_id
                for _, span in self._spans
                if attributes(span.attributes).get("guid:x-request-id") == request_id
            )
            return next(traces, None)

        with self._came:
            trace_id = self._came.wait_for(found, PATIENCE)
            assert trace_id, self.text()
            return trace_id

    def text(self) -> str:
        """All that was sent so far."""
        with self._came:
            return "\n".join(f"{service} {span}" for service, span in self._spans)

    def _of(self, trace_id: bytes) -> list[tuple[str, Span]]:
        return [(service, span) for service, span in self._spans if span.trace_id == trace_id]

    def __enter__(self) -> "Receiver":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()


def attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Those of a span or a resource, as text."""
    return {pair.key: pair.value.string_value or str(pair.value.int_value) for pair in pairs}
