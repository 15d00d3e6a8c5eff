"""Tells what happens to whoever watches, in this process, as it happens: what nobody watches is not kept."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import RecoError
from services.gateway.access.audit import Event
from services.gateway.events.notice import Notice, notice_of

#: Watchers at a time; each holds a thread. Envoy lets as many through.
MAX_WATCHERS = 4

#: Notices that may wait for a watcher.
MAX_WAITING = 1000


class TooManyWatchers(RecoError):
    """As many watch as may."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_WATCHERS"


class WatcherTooSlow(RecoError):
    """More has happened than was read."""

    status = "RESOURCE_EXHAUSTED"
    reason = "WATCHER_TOO_SLOW"


class Watcher:
    """What one of them has not read yet."""

    def __init__(self, most: int):
        self._waiting: queue.Queue[Notice] = queue.Queue(most)
        self._overflowed = threading.Event()

    def put(self, notice: Notice) -> None:
        """Never waits."""
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            self._overflowed.set()

    def next(self, timeout: float) -> Notice | None:
        """The next one; None where there is none for so many seconds. Raises WatcherTooSlow where some were lost."""
        if self._overflowed.is_set():
            raise WatcherTooSlow("more happened than was read: ask again, and read faster")
        try:
            return self._waiting.get(timeout=timeout)
        except queue.Empty:
            return None


class Watchers:
    """All of them. Safe to use from several threads."""

    def __init__(self, most: int = MAX_WATCHERS, waiting: int = MAX_WAITING):
        self._most = most
        self._waiting = waiting
        self._lock = threading.Lock()
        self._watchers: list[Watcher] = []

    def tell(self, event: Event) -> None:
        """Tells everybody, if it is of interest; never waits."""
        notice = notice_of(event) if self._watchers else None
        if notice is None:
            return
        with self._lock:
            for watcher in self._watchers:
                watcher.put(notice)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """With a watcher; raises TooManyWatchers."""
        watcher = Watcher(self._waiting)
        with self._lock:
            if len(self._watchers) >= self._most:
                raise TooManyWatchers("as many watch as may; try again later")
            self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers.remove(watcher)
