"""Tells notices by HTTP POST, signed as Standard Webhooks has it (standardwebhooks.com), until they are received.

Each is told at least once, in the order in which they happened; the id tells one that comes a second time.
"""

import base64
import hashlib
import hmac
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path

from services.gateway.access.audit import Event
from services.gateway.events.notice import notice_of
from services.gateway.events.outbox import Outbox, Waiting

log = logging.getLogger("reco")

URL, SECRET, SECRET_FILE, QUEUE = (
    "RECO_WEBHOOK_URL",
    "RECO_WEBHOOK_SECRET",
    "RECO_WEBHOOK_SECRET_FILE",
    "RECO_WEBHOOK_QUEUE",
)

#: Seconds: for an answer; before another attempt, at first and at most; after which a notice is given up; and between two
#: looks at what other gateways have left.
TIMEOUT = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
MOST_AGE = 24 * 3600.0
LOOK = 5.0

#: Sends a body with headers; raises OSError or HTTPException where it was not received.
Post = Callable[[bytes, Mapping[str, str]], None]


class Webhook:
    """Tells what happened. `tell` may be called from any thread, and never fails."""

    def __init__(self, outbox: Outbox, secret: bytes, post: Post):
        self._outbox = outbox
        self._secret = secret
        self._post = post
        self._news = threading.Event()

    def tell(self, event: Event) -> None:
        """Has something told, if it is of interest."""
        notice = notice_of(event)
        if notice is None:
            return
        try:
            if dropped := self._outbox.add(notice):
                log.warning("too many events wait for the webhook: the %d oldest are dropped", dropped)
        except OSError as err:
            log.error("an event cannot be kept for the webhook: %s", err)
        self._news.set()

    def run(self) -> None:
        """Tells all that waits, for ever."""
        pause = FIRST_PAUSE
        while True:
            if self._is_all_told():
                pause = FIRST_PAUSE
                self._news.wait(LOOK)
                self._news.clear()
            else:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _is_all_told(self) -> bool:
        """Whether nothing waits any more, or another gateway is telling it."""
        try:
            with self._outbox.sending() as ours:
                return not ours or self.tell_waiting()
        except OSError as err:
            log.error("the events that wait for the webhook cannot be read: %s", err)
            return False

    def tell_waiting(self) -> bool:
        """Tells what waits; False where one was not received, and is to be told again."""
        for waiting in self._outbox.waiting():
            if time.time() - waiting.since / 1e9 > MOST_AGE:
                log.warning("an event was not received by the webhook for a day, and is given up")
            elif not self._is_received(waiting):
                return False
            self._outbox.remove(waiting)
        return True

    def _is_received(self, waiting: Waiting) -> bool:
        try:
            self._post(waiting.body, signed(waiting.notice_id, int(time.time()), waiting.body, self._secret))
        except (OSError, HTTPException) as err:
            log.warning("the webhook did not receive an event, which is told again: %s", err)
            return False
        return True


def signed(notice_id: str, now: int, body: bytes, secret: bytes) -> dict[str, str]:
    """The headers of a notice: its id, the time (seconds since 1970), and the HMAC-SHA-256 of both and the body."""
    content = b".".join((notice_id.encode(), str(now).encode(), body))
    signature = base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": notice_id,
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{signature}",
    }


def webhook_of_environment() -> Webhook | None:
    """The one of RECO_WEBHOOK_URL; None where that is not set.

    Raises:
        SystemExit: it is no address, has no secret, or no folder to keep events in.
    """
    url, given, path = (os.environ.get(name, "") for name in (URL, SECRET, SECRET_FILE))
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise SystemExit(f"{URL}: an address that begins with http:// or https:// is wanted")
    try:
        secret = secret_of(Path(path).read_text() if path else given)
    except (OSError, ValueError) as err:
        raise SystemExit(f"{SECRET_FILE if path else SECRET}: {err}") from err
    try:
        outbox = Outbox(Path(os.environ.get(QUEUE) or "var/events"))
    except OSError as err:
        raise SystemExit(f"{QUEUE}: {err}") from err
    return Webhook(outbox, secret, poster(url))


def secret_of(text: str) -> bytes:
    """`whsec_` and base64 of 24 to 64 bytes, as Standard Webhooks has it; raises ValueError."""
    prefix, _, encoded = text.strip().partition("_")
    secret = base64.b64decode(encoded, validate=True) if prefix == "whsec" else b""
    if not 24 <= len(secret) <= 64:
        raise ValueError("whsec_ and base64 of 24 to 64 bytes are wanted: echo whsec_$(openssl rand -base64 32)")
    return secret


def poster(url: str) -> Post:
    """Posts to an address. What it answers is not looked at, and where it would send us, we do not go."""
    opener = urllib.request.build_opener(_NoRedirects)

    def post(body: bytes, headers: Mapping[str, str]) -> None:
        request = urllib.request.Request(url, body, dict(headers))
        with opener.open(request, timeout=TIMEOUT) as answer:
            if answer.status // 100 != 2:
                raise urllib.error.URLError(f"it answered {answer.status}")

    return post


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        return None
