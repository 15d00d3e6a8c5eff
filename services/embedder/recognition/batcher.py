"""Work of many callers at once: batched where that pays, bounded always, never waited for when a worker is free."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.common import call
from services.common.errors import Cancelled, DeadlineExceeded, Overloaded
from services.common.metrics import QueueMetrics

Item = TypeVar("Item")
Result = TypeVar("Result")


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


class _Call(Generic[Item, Result]):
    """One caller's items, and their results; the caller waits for all of them, or for the first error.

    `is_wanted`, `set` and `fail` are called under the batcher's lock.
    """

    def __init__(self, items: Sequence[Item]):
        self.items = items
        self._deadline = call.deadline()
        self._caller = call.caller()
        self._results: dict[int, Result] = {}
        self._missing = len(items)
        self._error: BaseException | None = None
        self._is_over = threading.Lock()
        if self._missing:
            self._is_over.acquire()

    def is_wanted(self) -> bool:
        """Whether somebody still waits for what is missing."""
        if self._caller.is_gone:
            self.fail(Cancelled("the caller has gone"))
        return self._error is None and time.monotonic() < self._deadline

    def set(self, index: int, result: Result) -> None:
        """Gives the result of an item."""
        self._results[index] = result
        self._missing -= 1
        if not self._missing and self._error is None:
            self._is_over.release()

    def fail(self, error: BaseException) -> None:
        """Ends the wait; the first error counts."""
        if self._missing and self._error is None:
            self._error = error
            self._is_over.release()

    def wait(self) -> bool:
        """Whether it was over before the deadline."""
        return self._is_over.acquire(timeout=max(0.0, self._deadline - time.monotonic()))

    def results(self) -> list[Result]:
        """Those of all items; raises what went wrong."""
        if self._error is not None:
            raise self._error
        return [self._results[index] for index in range(len(self.items))]


@dataclass(frozen=True)
class _Ticket(Generic[Item, Result]):
    """An item in the queue.

    Attributes:
        index: its place among its caller's.
        came: as of time.monotonic().
    """

    call: _Call[Item, Result]
    index: int
    came: float

    @property
    def item(self) -> Item:
        return self.call.items[self.index]


@dataclass(frozen=True)
class _Failed:
    """Why an item has no result."""

    error: BaseException


class Batcher(Generic[Item, Result]):
    """Hands items of all callers to a function, several at a time, first come, first served.

    Whoever becomes free takes at once what waits, so batches are as large as the load and no item ever waits for others
    to join it. A caller that finds a worker's place free does one batch itself: an idle system need not hand the item to
    another thread and the result back, which takes longer than all else here. What waits by then is done by a thread of
    the batcher's own, batch after batch, as long as something waits. Safe to use from several threads.
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
        self._waiting: deque[_Ticket[Item, Result]] = deque()
        self._running = 0
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="batch")

    def run(self, items: Sequence[Item]) -> list[Result]:
        """The results of items, in their order; waits for them, at most until the present request's deadline (or, where
        the caller's own thread does the work, until the batch that it began before is done).

        Raises:
            Overloaded: too much is waiting already; nothing was done.
            DeadlineExceeded, Cancelled: the caller gave up before; what was not begun is dropped.
            Whatever the work raised for one of the items.
        """
        mine: _Call[Item, Result] = _Call(items)
        with self._lock:
            self._queue(mine)
            batch = self._begin()
        if batch:
            self._do(batch)
            with self._lock:
                self._get_worker()
        if not mine.wait():
            with self._lock:
                mine.fail(DeadlineExceeded("the deadline came before the work was done"))
        return mine.results()

    def _queue(self, mine: _Call[Item, Result]) -> None:
        if len(self._waiting) >= self._limits.waiting:
            raise Overloaded(f"{len(self._waiting)} others are waiting already")
        now = time.monotonic()
        self._waiting.extend(_Ticket(mine, index, now) for index in range(len(mine.items)))

    def _begin(self) -> list[_Ticket[Item, Result]]:
        """A free worker's share of what waits, which takes that worker's place; nothing where no worker is free."""
        batch: list[_Ticket[Item, Result]] = []
        free = self._limits.workers - self._running
        most = min(self._limits.batch, -(-len(self._waiting) // free)) if free > 0 else 0
        while self._waiting and len(batch) < most:
            ticket = self._waiting.popleft()
            if ticket.call.is_wanted():
                batch.append(ticket)
        self._running += bool(batch)
        self._get_worker()
        return batch

    def _get_worker(self) -> None:
        """Has a thread of our own do what waits, where a place is free."""
        if self._waiting and self._running < self._limits.workers:
            self._threads.submit(self._serve)

    def _serve(self) -> None:
        """Does what waits, until nothing does or others have taken all places."""
        while batch := self._next_batch():
            self._do(batch)

    def _next_batch(self) -> list[_Ticket[Item, Result]]:
        with self._lock:
            return self._begin()

    def _do(self, batch: Sequence[_Ticket[Item, Result]]) -> None:
        if self._metrics:
            now = time.monotonic()
            self._metrics.begun([now - ticket.came for ticket in batch])
        outcomes = self._outcomes([ticket.item for ticket in batch])
        with self._lock:
            self._running -= 1
            for ticket, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, _Failed):
                    ticket.call.fail(outcome.error)
                else:
                    ticket.call.set(ticket.index, outcome)

    def _outcomes(self, items: Sequence[Item]) -> list[Result | _Failed]:
        """A result or an error for each item."""
        try:
            results = self._work(items)
            if len(results) != len(items):
                raise ValueError(f"{len(results)} results of {len(items)} items")
            return list(results)
        except BaseException as error:
            if len(items) == 1:
                return [_Failed(error)]
        return [outcome for item in items for outcome in self._outcomes([item])]
