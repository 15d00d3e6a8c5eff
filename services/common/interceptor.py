"""The one place where failures become gRPC statuses, and where every call is logged."""

import logging
import time
import uuid
from collections.abc import Callable

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common import call
from services.common.errors import RecoError

log = logging.getLogger("reco")

DOMAIN = "reco"

#: Seconds after which a refused call may be tried again.
RETRY_AFTER = "1"

QUIET_SERVICES = ("/grpc.health.v1.", "/grpc.reflection.")


class Boundary(grpc.ServerInterceptor):
    """Gives each call its request id and deadline, maps RecoError to a status with ErrorInfo, and logs one line."""

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None or details.method.startswith(QUIET_SERVICES) or handler.response_streaming:
            return handler
        guarded = _guard(handler.stream_unary or handler.unary_unary, details)
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(guarded, handler.request_deserializer, handler.response_serializer)


def _guard(method: Callable, details) -> Callable:
    def guarded(request, context: grpc.ServicerContext):
        metadata = dict(details.invocation_metadata or ())
        call.begin(metadata.get("x-request-id", "")[:64] or uuid.uuid4().hex, context.time_remaining())
        started = time.perf_counter()
        outcome = "OK"
        try:
            return method(request, context)
        except RecoError as err:
            outcome = f"{err.status} {err.reason}: {err}"
            context.abort_with_status(_with_retry_after(err, rpc_status.to_status(status_of(err))))
        except Exception:
            outcome = "INTERNAL"
            log.exception("%s failed", details.method)
            context.abort(grpc.StatusCode.INTERNAL, f"internal error; request id {call.request_id.get()}")
        finally:
            log.info("%s %s %.1f ms", details.method, outcome, 1000 * (time.perf_counter() - started))

    return guarded


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


def reason_of(err: grpc.RpcError) -> str:
    """The ErrorInfo.reason that a failed call carries, or the empty string."""
    status = rpc_status.from_call(err) if isinstance(err, grpc.Call) else None
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""
