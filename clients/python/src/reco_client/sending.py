"""Where requests go, when they are sent again, and what an answer or a failure comes to."""

import os
import random
from dataclasses import dataclass
from typing import TypeVar

import httpx

from .calls import Call
from .errors import RecoError, Unavailable, error_of

T = TypeVar("T")

_AGAIN = frozenset({429, 503})


@dataclass(frozen=True)
class Retries:
    """When requests are sent again that may be: after 429, 503, and where the connection failed.

    Attributes:
        times: how often at most, 0 for never.
        first: about so many seconds before the first time, twice as many before each further one.
        longest: seconds; a server that asks for more patience than this (Retry-After) is not asked again.
    """

    times: int = 4
    first: float = 0.25
    longest: float = 30.0

    def wait(self, call: Call[T], sent: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to wait before sending a call again that was sent `sent` times; None: do not."""
        if not call.repeatable or sent > self.times:
            return None
        asked = 0.0
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in _AGAIN:
                return None
            asked = _seconds(outcome.headers.get("retry-after", ""))
        pause = min(self.first * 2 ** (sent - 1), self.longest) * random.uniform(0.5, 1.0)
        return None if asked > self.longest else asked + pause


@dataclass(frozen=True)
class Target:
    """Where RECO is, and by which key.

    Attributes:
        url: of the installation; RECO_URL where it is None, else http://localhost:8001.
        key: RECO_API_KEY where it is None; empty for none.
        timeout: seconds for each part of a request: to connect, to send, to wait for an answer.
    """

    url: str | None = None
    key: str | None = None
    timeout: float = 60.0

    def address(self) -> httpx.URL:
        """The URL; ValueError where it is none."""
        text = self.url or os.environ.get("RECO_URL") or "http://localhost:8001"
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as err:
            raise ValueError(f"{text!r} is no URL: {err}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{text!r} is no URL such as http://localhost:8001")
        return url

    def headers(self) -> dict[str, str]:
        """Of every request; ValueError where the key cannot be one."""
        key = os.environ.get("RECO_API_KEY", "") if self.key is None else self.key
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the key has characters that no key has")
        return {"accept": "application/json", **({"x-api-key": key} if key else {})}


def concluded(call: Call[T], outcome: httpx.Response | httpx.TransportError) -> T:
    """The answer, or raises the RecoError that a failure comes to."""
    if isinstance(outcome, httpx.TransportError):
        said = "did not answer in time" if isinstance(outcome, httpx.TimeoutException) else "cannot be reached"
        raise Unavailable(f"{outcome.request.url.copy_with(path='/', query=None)} {said}: {outcome}") from outcome
    if not outcome.is_success:
        raise error_of(outcome.status_code, outcome.content)
    try:
        return call.parse(outcome.content)
    except RecoError as err:
        err.status = outcome.status_code
        raise


def _seconds(text: str) -> float:
    """Of Retry-After; dates are not sent by RECO."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
