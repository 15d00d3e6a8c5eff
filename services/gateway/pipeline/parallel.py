"""Work side by side within one request, whose id and deadline go with it."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import TypeVar

from services.common.errors import RecoError

T = TypeVar("T")
R = TypeVar("R")


def submit(executor: Executor, function: Callable[..., R], *args: object) -> Future[R]:
    """Calls the function on the executor, within the present request."""
    return executor.submit(copy_context().run, function, *args)


def attempt(function: Callable[..., R], *args: object) -> Future[R]:
    """Calls the function at once; a failure is kept for whoever asks for the result."""
    done: Future[R] = Future()
    try:
        done.set_result(function(*args))
    except RecoError as err:
        done.set_exception(err)
    return done


def map_parallel(executor: Executor, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Applies `function` to every item on the executor, within the present request; the first failure is raised."""
    futures = [submit(executor, function, item) for item in items]
    return [future.result() for future in futures]
