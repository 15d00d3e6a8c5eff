"""What belongs to the request being answered, wherever in the code: its id and the time that is left for it."""

import re
import time
import uuid
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_set_by_caller: ContextVar[bool] = ContextVar("set_by_caller", default=False)

#: What a caller's request id may be made of, and how long it may be; Envoy decides by the same (deploy/envoy/render.py).
REQUEST_ID_CHARACTERS = "A-Za-z0-9._:/=@~+-"
MAX_REQUEST_ID = 128

#: Seconds for a request whose caller set no deadline.
DEFAULT_TIMEOUT = 60.0


def accept_id(given: str) -> str:
    """The request id that a caller gave; a new one where that is missing, too long or not plain."""
    fits = re.fullmatch(f"[{REQUEST_ID_CHARACTERS}]{{1,{MAX_REQUEST_ID}}}", given)
    return given if fits else str(uuid.uuid4())


def begin(identifier: str, seconds_left: float | None) -> None:
    """Notes the request that this thread answers from now on."""
    request_id.set(identifier)
    left = DEFAULT_TIMEOUT if seconds_left is None else min(seconds_left, 10 * DEFAULT_TIMEOUT)
    _deadline.set(time.monotonic() + left)
    _set_by_caller.set(seconds_left is not None)


def renew() -> None:
    """The whole request has come only now: where its caller set no deadline, the time for it begins anew."""
    if not _set_by_caller.get():
        _deadline.set(time.monotonic() + DEFAULT_TIMEOUT)


def deadline() -> float:
    """When the present request's caller gives up, by time.monotonic(); outside of any, DEFAULT_TIMEOUT from now."""
    known = _deadline.get()
    return time.monotonic() + DEFAULT_TIMEOUT if known is None else known


def seconds_left() -> float:
    """Seconds until the caller of the present request gives up; DEFAULT_TIMEOUT outside of any request."""
    return max(0.0, deadline() - time.monotonic())
