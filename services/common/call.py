"""What belongs to the request being answered, wherever in the code: its id, whose it is, its time, who waits for it."""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from services.common.errors import Cancelled, DeadlineExceeded


class Caller:
    """Whoever waits for the present request's answer. Safe to use from several threads."""

    def __init__(self) -> None:
        self.is_gone = False
        self._lock = threading.Lock()
        self._told: list[Callable[[], object]] = []

    def leave(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self.is_gone = True
            told = tuple(self._told)
        for tell in told:
            tell()

    @contextmanager
    def telling(self, function: Callable[[], object]) -> Iterator[None]:
        """Calls the function, in another thread, if the caller leaves meanwhile; at once if it has left before."""
        with self._lock:
            self._told.append(function)
            is_gone = self.is_gone
        try:
            if is_gone:
                function()
            yield
        finally:
            with self._lock:
                self._told.remove(function)


request_id: ContextVar[str] = ContextVar("request_id", default="-")
#: The name of the key that it was sent with, as Envoy was told (services/gateway/api/authorisation.py).
key_name: ContextVar[str] = ContextVar("key_name", default="anonymous")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_set_by_caller: ContextVar[bool] = ContextVar("set_by_caller", default=False)
_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)

#: What a caller's request id may be made of, and how long it may be; Envoy decides by the same (deploy/envoy/render.py).
REQUEST_ID_CHARACTERS = "A-Za-z0-9._:/=@~+-"
MAX_REQUEST_ID = 128

#: The header that tells the name of a request's key. Envoy takes it from clients' requests and sets it itself.
KEY_NAME_HEADER = "x-reco-key-name"

#: Seconds for a request whose caller set no deadline.
DEFAULT_TIMEOUT = 60.0


def accept_id(given: str) -> str:
    """The request id that a caller gave; a new one where that is missing, too long or not plain."""
    fits = re.fullmatch(f"[{REQUEST_ID_CHARACTERS}]{{1,{MAX_REQUEST_ID}}}", given)
    return given if fits else str(uuid.uuid4())


def begin(identifier: str, seconds_left: float | None, key: str = "anonymous") -> Caller:
    """Notes the request that this thread answers from now on; returns its caller, who has not left."""
    request_id.set(identifier)
    key_name.set(key)
    present = Caller()
    _caller.set(present)
    left = DEFAULT_TIMEOUT if seconds_left is None else min(seconds_left, 10 * DEFAULT_TIMEOUT)
    _deadline.set(time.monotonic() + left)
    _set_by_caller.set(seconds_left is not None)
    return present


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


def caller() -> Caller:
    """The present request's; outside of any, one who never leaves."""
    return _caller.get() or Caller()


def check() -> None:
    """To be called before each photo and each face: nothing is begun that nobody waits for.

    Raises:
        Cancelled: the present request's caller has gone.
        DeadlineExceeded: it has given up by now.
    """
    if not seconds_left():
        raise DeadlineExceeded("the deadline came before the work was done")
    if caller().is_gone:
        raise Cancelled("the caller has gone")
