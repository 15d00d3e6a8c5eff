"""Work side by side within one request, whose id and deadline go with it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from services.common import call
from services.common.errors import DeadlineExceeded, RecoError

T = TypeVar("T")
R = TypeVar("R")


def submit(executor: Executor, function: Callable[..., R], *args: object) -> Future[R]:
    """Calls the function on the executor, within the present request, if somebody still waits for that by then."""

    def begin() -> R:
        call.check()
        return function(*args)

    return executor.submit(copy_context().run, begin)


def attempt(function: Callable[..., R], *args: object) -> Future[R]:
    """Calls the function at once; a failure is kept for whoever asks for the result."""
    done: Future[R] = Future()
    try:
        done.set_result(function(*args))
    except RecoError as err:
        done.set_exception(err)
    return done


def map_parallel(executor: Executor, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Applies `function` to every item, within the present request; the first failure is raised.

    The last one is done in the caller's own thread: a single one is handed to nobody.
    """
    waiting = list(items)
    futures = [submit(executor, function, item) for item in waiting[:-1]]
    try:
        call.check()
        own = [attempt(function, item) for item in waiting[-1:]]
        return [future.result() for future in (*futures, *own)]
    finally:
        for future in futures:
            future.cancel()  # what was not begun when one failed


class Budget:
    """So many bytes may be worked on at a time, over all requests; a piece that is larger goes alone."""

    def __init__(self, size: int):
        self._size = self._left = size
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Waits until there is room for that many bytes, and takes it for the block.

        Raises:
            DeadlineExceeded: there was none before the present request's deadline.
        """
        size = min(size, self._size)
        with self._changed:
            if not self._changed.wait_for(lambda: self._left >= size, timeout=call.seconds_left()):
                raise DeadlineExceeded("too much else is being worked on")
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()
