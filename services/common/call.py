"""What belongs to the request being answered, wherever in the code: its id, whose it is, and the time that is left."""

import re
import time
import uuid
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
#: The name of the key that it was sent with, as Envoy was told (services/gateway/api/authorisation.py).
caller: ContextVar[str] = ContextVar("caller", default="anonymous")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

#: What a caller's request id may be made of, and how long it may be; Envoy decides by the same (deploy/envoy/render.py).
REQUEST_ID_CHARACTERS = "A-Za-z0-9._:/=@~+-"
MAX_REQUEST_ID = 128

#: The header that tells the name of a request's key. Envoy takes it from clients' requests and sets it itself.
CALLER_HEADER = "x-reco-key-name"

#: Seconds for a request whose caller set no deadline.
DEFAULT_TIMEOUT = 60.0


def accept_id(given: str) -> str:
    """The request id that a caller gave; a new one where that is missing, too long or not plain."""
    fits = re.fullmatch(f"[{REQUEST_ID_CHARACTERS}]{{1,{MAX_REQUEST_ID}}}", given)
    return given if fits else str(uuid.uuid4())


def begin(identifier: str, seconds_left: float | None, sender: str = "anonymous") -> None:
    """Notes the request that this thread answers from now on."""
    request_id.set(identifier)
    caller.set(sender)
    left = DEFAULT_TIMEOUT if seconds_left is None else min(seconds_left, 10 * DEFAULT_TIMEOUT)
    _deadline.set(time.monotonic() + left)


def deadline() -> float:
    """When the present request's caller gives up, by time.monotonic(); outside of any, DEFAULT_TIMEOUT from now."""
    known = _deadline.get()
    return time.monotonic() + DEFAULT_TIMEOUT if known is None else known


def seconds_left() -> float:
    """Seconds until the caller of the present request gives up; DEFAULT_TIMEOUT outside of any request."""
    return max(0.0, deadline() - time.monotonic())
