"""Work of many callers at once: batched where that pays, bounded always, never waited for when a worker is free."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from services.common import call
from services.common.errors import DeadlineExceeded, Overloaded
from services.common.metrics import QueueMetrics

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """How many processors this process may use: as many workers keep all of them busy."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Limits:
    """How much is done, and how much may wait.

    Attributes:
        workers: batches worked on at once.
        batch: items of a batch, at most.
        waiting: a call that finds this many items waiting is refused.
    """

    workers: int
    batch: int = 1
    waiting: int = 32


@dataclass(frozen=True)
class _Ticket(Generic[Item]):
    """An item in the queue; times as of time.monotonic()."""

    item: Item
    deadline: float
    came: float = field(default_factory=time.monotonic)
    future: Future = field(default_factory=Future)

    def is_wanted(self) -> bool:
        """Whether somebody still waits for it; if so, nobody can withdraw it any more."""
        return time.monotonic() < self.deadline and self.future.set_running_or_notify_cancel()


class Batcher(Generic[Item, Result]):
    """Hands items of all callers to a function, several at a time, first come, first served.

    A worker that becomes free takes at once what waits, so batches are as large as the load and no item ever waits for
    others to join it. Safe to use from several threads.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        limits: Limits,
        metrics: QueueMetrics | None = None,
    ):
        """
        Args:
            work: gives a result for each item, in order; runs in `limits.workers` threads at once. Where it fails for
                several items, it is asked again for each alone, so that one bad item spoils no other.
            metrics: is told of each batch.
        """
        self._work = work
        self._limits = limits
        self._metrics = metrics
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket[Item]] = deque()
        self._running = 0
        self._stopped = False
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="batch")

    def run(self, items: Sequence[Item]) -> list[Result]:
        """The results of items, in their order; waits for them, at most until the present request's deadline.

        Raises:
            Overloaded: too much is waiting already; nothing was done.
            DeadlineExceeded: the deadline came first; what was not begun is dropped.
            Whatever the work raised for one of the items.
        """
        tickets = [_Ticket(item, call.deadline()) for item in items]
        self._queue(tickets)
        self._start()
        try:
            return [ticket.future.result(call.seconds_left()) for ticket in tickets]
        except (TimeoutError, CancelledError) as error:
            raise DeadlineExceeded("the deadline came before the work was done") from error
        finally:
            for ticket in tickets:
                ticket.future.cancel()  # does nothing to those begun or done

    def stop(self) -> None:
        """Ends the workers once they are done; what waits is refused, and so is all that comes."""
        with self._lock:
            self._stopped = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for ticket in waiting:
            if ticket.is_wanted():
                ticket.future.set_exception(Overloaded("this service is stopping"))
        self._threads.shutdown()

    def _queue(self, tickets: Sequence[_Ticket[Item]]) -> None:
        with self._lock:
            if self._stopped:
                raise Overloaded("this service is stopping")
            if len(self._waiting) >= self._limits.waiting:
                raise Overloaded(f"{len(self._waiting)} others are waiting already")
            self._waiting.extend(tickets)

    def _start(self) -> None:
        """Gives free workers what waits."""
        while batch := self._next_batch():
            if self._metrics:
                now = time.monotonic()
                self._metrics.begun([now - ticket.came for ticket in batch])
            self._submit(batch)

    def _next_batch(self) -> list[_Ticket[Item]]:
        """What the next free worker should do: its share of what waits; nothing where no worker is free."""
        batch: list[_Ticket[Item]] = []
        with self._lock:
            free = self._limits.workers - self._running
            most = min(self._limits.batch, -(-len(self._waiting) // free)) if free > 0 else 0
            while self._waiting and len(batch) < most:
                ticket = self._waiting.popleft()
                if ticket.is_wanted():
                    batch.append(ticket)
            self._running += bool(batch)
        return batch

    def _submit(self, batch: Sequence[_Ticket[Item]]) -> None:
        work = self._threads.submit(self._results, [ticket.item for ticket in batch])
        work.add_done_callback(partial(self._finish, batch))

    def _results(self, items: Sequence[Item]) -> Sequence[Result]:
        results = self._work(items)
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results of {len(items)} items")
        return results

    def _finish(self, batch: Sequence[_Ticket[Item]], work: Future) -> None:
        """Runs in the worker's thread: first the next batch is handed out, then this one's results."""
        error = work.exception()
        with self._lock:
            alone = batch if error and len(batch) > 1 and not self._stopped else ()
            self._running += len(alone) - 1
        for ticket in alone:
            self._submit([ticket])
        self._start()
        if error and not alone:
            for ticket in batch:
                ticket.future.set_exception(error)
        elif not error:
            for ticket, result in zip(batch, work.result(), strict=True):
                ticket.future.set_result(result)


class Workers:
    """A few threads that do calls' work, one call at a time each: for work that does not gain by being batched.

    Requests wait here rather than in the server's threads' rivalry for the processors: as many are worked on as there
    are processors, in order, a bounded number waits, and health checks always find a thread.
    """

    def __init__(self, limits: Limits, metrics: QueueMetrics | None = None):
        self._batcher: Batcher[Callable[[], object], object] = Batcher(_call_all, limits, metrics)

    def run(self, function: Callable[..., Result], *args: object) -> Result:
        """What the function returns or raises, called within the present request (see call.py).

        Raises Overloaded and DeadlineExceeded as Batcher.run does.
        """
        return self._batcher.run([partial(copy_context().run, function, *args)])[0]


def _call_all(functions: Sequence[Callable[[], object]]) -> list[object]:
    return [function() for function in functions]
