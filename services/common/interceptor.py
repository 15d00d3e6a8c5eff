"""The one place where failures become gRPC statuses, and where every call is logged, counted and traced."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common import call
from services.common.errors import InvalidRequest, RecoError
from services.common.metrics import CallMetrics
from services.common.tracing import Tracing

log = logging.getLogger("reco")

DOMAIN = "reco"

#: Characters of a message and of what is wrong with a field; both become headers.
MAX_TEXT = 2000

QUIET_SERVICES = ("/grpc.health.v1.", "/grpc.reflection.", "/envoy.service.auth.")

#: Of any service: what a request and an answer are it alone knows.
Method = Callable[[Any, grpc.ServicerContext], Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # at run time it takes no parameters


class Unreadable(InvalidRequest):
    """The bytes are not a message of the method."""

    reason = "REQUEST_UNREADABLE"


class Boundary(grpc.ServerInterceptor):
    """Gives each call its request id and deadline, maps RecoError to a status with ErrorInfo, and logs one line."""

    def __init__(self, metrics: CallMetrics, tracing: Tracing):
        self._metrics = metrics
        self._tracing = tracing

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Handler | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler, details = continuation(handler_call_details), handler_call_details
        if handler is None:
            return None
        if details.method.startswith(QUIET_SERVICES):
            return _quiet(handler)
        decode, encode = _reader(handler.request_deserializer), handler.response_serializer
        if handler.unary_unary:
            single = handler.unary_unary
            guarded = self._guard(lambda request, context: single(_readable(request), context), details)
            return grpc.unary_unary_rpc_method_handler(guarded, decode, encode)
        if handler.stream_unary:
            stream = handler.stream_unary
            guarded = self._guard(lambda requests, context: stream(map(_readable, requests), context), details)
            return grpc.stream_unary_rpc_method_handler(guarded, decode, encode)
        if handler.unary_stream:
            many = handler.unary_stream
            answers = self._guard_stream(lambda request, context: many(_readable(request), context), details)
            return grpc.unary_stream_rpc_method_handler(answers, decode, encode)
        return handler

    def _guard(self, method: Method, details: grpc.HandlerCallDetails) -> Method:
        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            with self._boundary(details, context):
                return method(request, context)

        return guarded

    def _guard_stream(self, method: Method, details: grpc.HandlerCallDetails) -> Method:
        def guarded(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._boundary(details, context):
                yield from method(request, context)

        return guarded

    @contextmanager
    def _boundary(self, details: grpc.HandlerCallDetails, context: grpc.ServicerContext) -> Iterator[None]:
        metadata = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        key = metadata.get(call.KEY_NAME_HEADER, "anonymous")
        caller = call.begin(call.accept_id(metadata.get("x-request-id", "")), context.time_remaining(), key)
        if not context.add_callback(caller.leave):  # which is called when the call has ended, too
            caller.leave()
        with self._observed(details.method, metadata) as outcome:
            try:
                yield
            except RecoError as err:
                outcome.code, outcome.why = err.status, f" {err.reason}: {err}"
                context.abort_with_status(_answer(err))
            except Exception:
                if not context.is_active():  # reading what a client sends fails where that has gone
                    outcome.code = "CANCELLED"
                    raise
                outcome.code = "INTERNAL"
                log.exception("%s failed", details.method)
                context.abort(grpc.StatusCode.INTERNAL, f"internal error; request id {call.request_id.get()}")

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


def _quiet(handler: "Handler") -> "Handler":
    """A method that is neither logged nor counted, such as a library's own: only what it cannot read, and what it does not
    do, is answered for it."""
    decode, encode = _reader(handler.request_deserializer), handler.response_serializer

    def read(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, Unreadable):
            context.abort_with_status(_answer(request))
        return request

    if handler.unary_unary:
        single = handler.unary_unary

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return single(read(request, context), context)
            except NotImplementedError:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "not implemented")

        return grpc.unary_unary_rpc_method_handler(answer, decode, encode)
    if handler.unary_stream:
        many = handler.unary_stream
        return grpc.unary_stream_rpc_method_handler(
            lambda one, context: many(read(one, context), context), decode, encode
        )
    if handler.stream_stream:
        stream = handler.stream_stream
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: stream((read(one, context) for one in requests), context), decode, encode
        )
    return handler


def _reader(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Reads a request; one that cannot be read becomes the error itself, which gRPC would else call its server's own."""

    def read(wire: bytes) -> Any:
        try:
            return decode(wire) if decode else wire
        except DecodeError:
            return Unreadable("the request is not the message that the method takes")

    return read


def _readable(request: Any) -> Any:
    if isinstance(request, Unreadable):
        raise request
    return request


@dataclass
class _Outcome:
    """How a call ends: the status's name, and why it is not OK."""

    code: str = "OK"
    why: str = ""


def status_of(err: RecoError) -> status_pb2.Status:
    """The rich status of a failure: canonical code, message, ErrorInfo(reason, domain), BadRequest of fields at fault."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=err.reason, domain=DOMAIN)]
    if err.violations:
        violation = error_details_pb2.BadRequest.FieldViolation
        wrong = [violation(field=field, description=_cut(why)) for field, why in err.violations]
        details.append(error_details_pb2.BadRequest(field_violations=wrong))
    status = status_pb2.Status(code=code_pb2.Code.Value(err.status), message=_cut(str(err)))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _cut(text: str) -> str:
    """As much as goes into headers, whatever a client has sent that is told back."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


@dataclass(frozen=True)
class _Answer(grpc.Status):
    """What gRPC sends of a failure; of `trailing_metadata` Envoy makes HTTP headers."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def _answer(err: RecoError) -> grpc.Status:
    status = rpc_status.to_status(status_of(err))
    if err.status not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        return status
    return _Answer(status.code, status.details, (*status.trailing_metadata, ("retry-after", str(err.retry_after))))
