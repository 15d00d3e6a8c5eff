"""Workers: places, the bound on those who wait, deadlines, errors. What happens when is told by events, never by time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from services.common import call
from services.common.errors import DeadlineExceeded, Overloaded
from services.common.metrics import Metrics
from services.common.workers import Workers

PATIENCE = 30


def within(seconds, function, *args):
    """Calls the function in a request that has that much time left."""

    def run():
        call.begin("test", seconds)
        return function(*args)

    return copy_context().run(run)


class Job:
    """Work that says when it has begun, and waits to be let through."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        return "done"


@pytest.fixture
def clients():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_what_the_function_gives_or_raises():
    workers = Workers(1, waiting=0)
    assert workers.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        workers.run(divmod, 7, 0)
    assert workers.run(divmod, 9, 4) == (2, 1)  # the place is free again


def test_beyond_the_bound_a_call_is_refused_at_once(clients):
    workers, job = Workers(1, waiting=0), Job()
    working = clients.submit(workers.run, job)
    assert job.begun.wait(PATIENCE)
    with pytest.raises(Overloaded):
        workers.run(divmod, 7, 2)
    job.may_end.set()
    assert working.result() == "done"
    assert workers.run(divmod, 7, 2) == (3, 1)


def test_as_many_are_worked_on_as_there_are_places(clients):
    workers, jobs = Workers(2, waiting=1), [Job(), Job(), Job()]
    running = [clients.submit(workers.run, job) for job in jobs[:2]]
    assert all(job.begun.wait(PATIENCE) for job in jobs[:2])
    running.append(clients.submit(workers.run, jobs[2]))
    assert not jobs[2].begun.wait(0.05)
    jobs[0].may_end.set()
    assert jobs[2].begun.wait(PATIENCE)
    for job in jobs:
        job.may_end.set()
    assert [call.result() for call in running] == ["done"] * 3


def test_a_call_whose_deadline_comes_first_is_not_begun(clients):
    workers, job, late = Workers(1, waiting=1), Job(), Job()
    working = clients.submit(workers.run, job)
    assert job.begun.wait(PATIENCE)
    with pytest.raises(DeadlineExceeded):
        within(0.01, workers.run, late)
    assert not late.begun.is_set()
    job.may_end.set()
    working.result()


def test_waits_are_measured():
    metrics = Metrics("test")
    workers = Workers(1, metrics=metrics.queue("detector"))
    workers.run(divmod, 7, 2)
    assert metrics.registry.get_sample_value("reco_queue_wait_seconds_count", {"queue": "detector"}) == 1


def test_the_function_runs_within_the_request():
    assert within(30, lambda: Workers(1).run(call.deadline) == call.deadline())
