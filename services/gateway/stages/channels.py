"""Reaches the stages: balanced over their copies, the request's deadline, id and trace passed on, calls tried again."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.common import call
from services.common.encryption import CannotDecrypt
from services.common.errors import DatabaseUnavailable, InvalidImage, ModelUnavailable, RecoError
from services.common.limits import MAX_MESSAGE_BYTES
from services.common.metrics import CallMetrics
from services.common.mutual_tls import Identity, open_channel_to
from services.common.tracing import NoTracing, Tracing
from services.gateway.errors import LivenessUnavailable

log = logging.getLogger("reco")

#: A name is looked up anew at most this often, when a connection has ended (see services.common.server).
DNS_INTERVAL_MS = 5000

#: A stage that is asked something, and sends nothing for so long, is asked whether it is there at all, and left out if it
#: does not answer that; its gRPC threads do so however busy it is. A connection gets as long to come about.
ALIVE_AFTER_MS, ALIVE_TIMEOUT_MS = 3000, 5000

#: Every call of the stages is idempotent: one that did not get through is tried again, on another copy where there is one.
#: CANCELLED is what a server says that stops before it has begun the call.
SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ],
    }
)


class StageUnavailable(RecoError):
    """A stage cannot be reached, is overloaded, or failed; trying again later is right."""

    status = "UNAVAILABLE"
    reason = "STAGE_UNAVAILABLE"


class StageLacks(StageUnavailable):
    """A stage does not know the call: it is of an earlier version, while a new one is rolled out."""


class StageTimeout(RecoError):
    """A stage did not answer within the request's deadline."""

    status = "DEADLINE_EXCEEDED"
    reason = "STAGE_TIMEOUT"


#: What a stage's ErrorInfo.reason means to the pipeline.
MEANING: dict[str, type[RecoError]] = {
    "IMAGE_UNDECODABLE": InvalidImage,
    "IMAGE_TOO_LARGE": InvalidImage,
    "LIVENESS_MODEL_UNAVAILABLE": LivenessUnavailable,
    "MODEL_UNAVAILABLE": ModelUnavailable,
    "DATABASE_UNAVAILABLE": DatabaseUnavailable,
    "CANNOT_DECRYPT": CannotDecrypt,
}


#: What a failure without such a reason means.
FAILURES: dict[grpc.StatusCode, type[RecoError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: StageTimeout,
    grpc.StatusCode.UNIMPLEMENTED: StageLacks,
}

Metadata = tuple[tuple[str, str | bytes], ...]
RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")
CallT = TypeVar("CallT", bound=grpc.Call)


@dataclass(frozen=True)
class _CallDetails(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Metadata | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _WithinRequest(grpc.UnaryUnaryClientInterceptor):
    """Passes the present request's remaining time, id and trace on to the stage; counts and times the call.

    The channel tries again below this: all attempts are one call.
    """

    def __init__(self, metrics: CallMetrics, tracing: Tracing):
        self._metrics = metrics
        self._tracing = tracing

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, RequestT], CallT],
        client_call_details: grpc.ClientCallDetails,
        request: RequestT,
    ) -> CallT:
        details = client_call_details
        started = time.perf_counter()
        self._metrics.begun(details.method)
        with self._tracing.calling(details.method) as span:
            outcome = continuation(_within_request(details, span.headers()), request)
            with call.caller().telling(outcome.cancel):
                code = outcome.code().name  # waits for the answer; a failure is not raised before somebody asks for it
            span.ended(code)
        self._metrics.ended(details.method, code, time.perf_counter() - started)
        return outcome


def _within_request(details: grpc.ClientCallDetails, headers: Sequence[tuple[str, str]]) -> _CallDetails:
    metadata = (*(details.metadata or ()), ("x-request-id", call.request_id.get()), *headers)
    timeout = min(details.timeout or call.DEFAULT_TIMEOUT, call.seconds_left())
    return _CallDetails(
        details.method, timeout, metadata, details.credentials, details.wait_for_ready, details.compression
    )


def open_channel(
    target: str,
    metrics: CallMetrics | None = None,
    tracing: Tracing | None = None,
    name: str = "",
    identity: Identity | None = None,
) -> grpc.Channel:
    """A channel to a stage; balances over all addresses that the target resolves to (`dns:///…`, `ipv4:a:1,b:2`).

    Args:
        name, identity: the stage that must be there, and what is shown to it; in plain without the latter.
    """
    within_request = _WithinRequest(metrics or CallMetrics("client"), tracing or NoTracing())
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),  # a call that does not fit is not tried again
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", ALIVE_TIMEOUT_MS),
        ("grpc.keepalive_time_ms", ALIVE_AFTER_MS),
        ("grpc.keepalive_timeout_ms", ALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", ALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.dns_min_time_between_resolutions_ms", DNS_INTERVAL_MS),
    ]
    return grpc.intercept_channel(open_channel_to(name, target, identity, options), within_request)


def ask(method: "grpc.UnaryUnaryMultiCallable[RequestT, AnswerT]", request: RequestT) -> AnswerT:
    """A stage's answer. The call is given up where the present request's caller goes.

    Raises:
        RecoError: what the failure means to the pipeline, see MEANING; StageTimeout, StageUnavailable.
        Cancelled, DeadlineExceeded: the caller has gone.
    """
    call.check()
    with stage_errors():
        return method.future(request).result()  # called otherwise, it could not be given up


@contextmanager
def stage_errors() -> Iterator[None]:
    """Turns a failed call into what it means to the pipeline."""
    try:
        yield
    except grpc.FutureCancelledError as err:
        call.check()
        raise StageUnavailable("the call was given up") from err
    except grpc.RpcError as err:
        err.__traceback__ = None  # gRPC's frames hold the request and, in a circle, the error
        reason, code, text = reason_of(err), err.code(), err.details() or ""
        if reason in MEANING:
            raise MEANING[reason](text) from err
        if code == grpc.StatusCode.CANCELLED:
            call.check()
        failure = FAILURES.get(code, StageUnavailable)
        if not reason:  # not of a stage but of the way there, with addresses that are nobody's business
            log.warning("%s %s", code.name, text)
            text = "a stage does not answer"
        raise failure(f"{code.name} {text}") from err


def reason_of(err: grpc.RpcError) -> str:
    """The ErrorInfo.reason that a failed call carries, or the empty string."""
    status = rpc_status.from_call(err) if isinstance(err, grpc.Call) else None
    details: Iterable[any_pb2.Any] = status.details if status else ()
    for detail in details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""
