"""The one place where failures become gRPC statuses, and where every call is logged, counted and traced."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common import call
from services.common.errors import RecoError
from services.common.metrics import CallMetrics
from services.common.tracing import Tracing

log = logging.getLogger("reco")

DOMAIN = "reco"

#: Seconds after which a refused call may be tried again.
RETRY_AFTER = "1"

QUIET_SERVICES = ("/grpc.health.v1.", "/grpc.reflection.")


class Boundary(grpc.ServerInterceptor):
    """Gives each call its request id and deadline, maps RecoError to a status with ErrorInfo, and logs one line."""

    def __init__(self, metrics: CallMetrics, tracing: Tracing):
        self._metrics = metrics
        self._tracing = tracing

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None or details.method.startswith(QUIET_SERVICES) or handler.response_streaming:
            return handler
        guarded = self._guard(handler.stream_unary or handler.unary_unary, details)
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(guarded, handler.request_deserializer, handler.response_serializer)

    def _guard(self, method: Callable, details) -> Callable:
        def guarded(request, context: grpc.ServicerContext):
            metadata = dict(details.invocation_metadata or ())
            call.begin(call.accept_id(metadata.get("x-request-id", "")), context.time_remaining())
            with self._observed(details.method, metadata) as outcome:
                try:
                    return method(request, context)
                except RecoError as err:
                    outcome.code, outcome.why = err.status, f" {err.reason}: {err}"
                    context.abort_with_status(_with_retry_after(err, rpc_status.to_status(status_of(err))))
                except Exception:
                    outcome.code = "INTERNAL"
                    log.exception("%s failed", details.method)
                    context.abort(grpc.StatusCode.INTERNAL, f"internal error; request id {call.request_id.get()}")

        return guarded

    @contextmanager
    def _observed(self, path: str, metadata: Mapping[str, str]) -> Iterator["_Outcome"]:
        outcome = _Outcome()
        started = time.perf_counter()
        self._metrics.begun(path)
        with self._tracing.answering(path, metadata) as span:
            try:
                yield outcome
            finally:
                seconds = time.perf_counter() - started
                self._metrics.ended(path, outcome.code, seconds)
                span.ended(outcome.code)
                log.info("%s %s%s %.1f ms", path, outcome.code, outcome.why, 1000 * seconds)


@dataclass
class _Outcome:
    """How a call ends: the status's name, and why it is not OK."""

    code: str = "OK"
    why: str = ""


def status_of(err: RecoError) -> status_pb2.Status:
    """The rich status of a failure: canonical code, message, ErrorInfo(reason, domain)."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=err.reason, domain=DOMAIN))
    return status_pb2.Status(code=code_pb2.Code.Value(err.status), message=str(err), details=[detail])


def _with_retry_after(err: RecoError, status: grpc.Status) -> grpc.Status:
    """Trailing metadata becomes an HTTP header on the way through Envoy."""
    if err.status not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        return status
    return status._replace(trailing_metadata=(*status.trailing_metadata, ("retry-after", RETRY_AFTER)))
