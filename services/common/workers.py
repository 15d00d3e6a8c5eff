"""How many calls are worked on at once: as many as there are processors, a bounded number waits, the rest is refused."""

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from services.common import call
from services.common.errors import DeadlineExceeded, Overloaded
from services.common.metrics import QueueMetrics

Result = TypeVar("Result")

#: Calls that may wait for a place; one that finds as many waiting is refused.
WAITING = 32


def processors() -> int:
    """How many processors this process may use: as many workers keep all of them busy."""
    return len(os.sched_getaffinity(0))


class Workers:
    """A few places where calls' work is done, each in its caller's own thread.

    Requests wait here rather than in the server's threads' rivalry for the processors, so health checks always find a
    thread. Safe to use from several threads.
    """

    def __init__(self, places: int, waiting: int = WAITING, metrics: QueueMetrics | None = None):
        """
        Args:
            places: calls worked on at once.
            waiting: calls that may wait.
            metrics: is told how long each call waited.
        """
        self._free = threading.Semaphore(places)
        self._queue = threading.Semaphore(places + waiting)
        self._metrics = metrics

    def run(self, function: Callable[..., Result], *args: object) -> Result:
        """What the function returns or raises.

        Raises:
            Overloaded: too many wait already; nothing was done.
            DeadlineExceeded, Cancelled: the present request's caller gave up before a place was free; nothing was done.
        """
        if not self._queue.acquire(blocking=False):
            raise Overloaded("too many others are waiting already")
        try:
            return self._wait_and_run(function, *args)
        finally:
            self._queue.release()

    def _wait_and_run(self, function: Callable[..., Result], *args: object) -> Result:
        came = time.monotonic()
        if not self._free.acquire(timeout=call.seconds_left()):
            raise DeadlineExceeded("the deadline came before the work was begun")
        try:
            call.check()
            if self._metrics:
                self._metrics.begun([time.monotonic() - came])
            return function(*args)
        finally:
            self._free.release()
