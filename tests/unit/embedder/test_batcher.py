"""The batcher: order, sharing, bounds, deadlines, errors. What happens when is told by events, never by time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

import pytest

from services.common import call
from services.common.errors import Cancelled, DeadlineExceeded, InvalidRequest, Overloaded
from services.common.metrics import Metrics
from services.embedder.recognition.batcher import Batcher, Limits

PATIENCE = 30


class Gate:
    """Work that doubles numbers, notes its batches, and waits to be let through where told to."""

    def __init__(self, is_open: bool = False):
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()
        if is_open:
            self._open.set()

    def __call__(self, items):
        self.batches.append(list(items))
        self.begun.release()
        assert self._open.wait(PATIENCE)
        if any(item < 0 for item in items):
            raise InvalidRequest("a negative number")
        return [2 * item for item in items]

    def wait_until_begun(self):
        assert self.begun.acquire(timeout=PATIENCE)

    def open(self):
        self._open.set()


@pytest.fixture
def clients():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def wait_until_full(batcher):
    """Returns once as many items wait as may: from then on even a call without any is refused."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            batcher.run([])
        except Overloaded:
            return
        time.sleep(0.001)
    pytest.fail("the items did not come")


def within(seconds, function, *args):
    """Calls the function in a request that has that much time left."""

    def run():
        call.begin("test", seconds)
        return function(*args)

    return copy_context().run(run)


def test_results_come_in_the_order_of_the_items():
    batcher = Batcher(Gate(is_open=True), Limits(workers=3, batch=4))
    assert batcher.run(range(50)) == [2 * item for item in range(50)]
    assert batcher.run([]) == []


def test_an_idle_worker_begins_at_once_with_what_there_is(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=8))
    result = clients.submit(batcher.run, [1])
    gate.wait_until_begun()  # although nobody came to fill the batch
    assert gate.batches == [[1]]
    gate.open()
    assert result.result() == [2]


def test_where_a_worker_is_free_the_caller_does_its_work_itself():
    batcher = Batcher(lambda items: [threading.get_ident() for _ in items], Limits(workers=2, batch=8))
    assert batcher.run([0]) == [threading.get_ident()]


def test_a_caller_does_not_wait_for_what_came_after_it(clients):
    gates = [Gate(), Gate()]
    batcher = Batcher(lambda items: [gates[item]([item])[0] for item in items], Limits(workers=1, waiting=1))
    first = clients.submit(batcher.run, [0])
    gates[0].wait_until_begun()
    second = clients.submit(batcher.run, [1])
    wait_until_full(batcher)
    gates[0].open()
    gates[1].wait_until_begun()
    assert first.result(PATIENCE) == [0] and not second.done()
    gates[1].open()
    assert second.result(PATIENCE) == [2]


def test_what_came_while_the_worker_was_busy_is_one_batch(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=3, waiting=5))
    results = [clients.submit(batcher.run, [0])]
    gate.wait_until_begun()
    results += [clients.submit(batcher.run, [item]) for item in range(1, 6)]
    wait_until_full(batcher)
    gate.open()
    assert [result.result() for result in results] == [[2 * item] for item in range(6)]
    assert [len(batch) for batch in gate.batches] == [1, 3, 2]


def test_who_came_first_is_served_first(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=3, waiting=4))
    results = [clients.submit(batcher.run, [0])]
    gate.wait_until_begun()
    results.append(clients.submit(batcher.run, range(1, 5)))
    wait_until_full(batcher)
    gate.open()
    assert [result.result() for result in results] == [[0], [2, 4, 6, 8]]
    assert gate.batches == [[0], [1, 2, 3], [4]]


def test_free_workers_share_what_came_together():
    gate = Gate(is_open=True)
    batcher = Batcher(gate, Limits(workers=2, batch=8))
    batcher.run([1, 2, 3])
    assert sorted(map(len, gate.batches)) == [1, 2]


def test_an_error_stays_with_its_item(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=8, waiting=3))
    first = clients.submit(batcher.run, [0])
    gate.wait_until_begun()
    good, bad = clients.submit(batcher.run, [1, 2]), clients.submit(batcher.run, [-1])
    wait_until_full(batcher)
    gate.open()
    assert first.result() == [0] and good.result() == [2, 4]
    with pytest.raises(InvalidRequest, match="negative"):
        bad.result()
    assert batcher.run([7]) == [14]


def test_work_that_loses_results_is_an_error():
    with pytest.raises(ValueError, match="0 results of 1 items"):
        Batcher(lambda items: [], Limits(workers=1)).run([1])


def test_beyond_the_bound_a_call_is_refused_at_once(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=8, waiting=2))
    accepted = [clients.submit(batcher.run, [0])]
    gate.wait_until_begun()
    accepted.append(clients.submit(batcher.run, [1, 2]))
    wait_until_full(batcher)
    with pytest.raises(Overloaded):
        batcher.run([3])
    gate.open()
    assert [result.result() for result in accepted] == [[0], [2, 4]]
    assert batcher.run([4]) == [8]


def test_one_call_may_bring_more_than_the_bound():
    batcher = Batcher(Gate(is_open=True), Limits(workers=1, batch=2, waiting=2))
    assert batcher.run(range(9)) == [2 * item for item in range(9)]


def test_what_nobody_waits_for_any_more_is_not_done(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=8, waiting=2))
    first = clients.submit(batcher.run, [0])
    gate.wait_until_begun()
    with pytest.raises(DeadlineExceeded):
        within(0.01, batcher.run, [1])
    last = clients.submit(batcher.run, [2])
    wait_until_full(batcher)
    gate.open()
    assert first.result() == [0] and last.result() == [4]
    assert gate.batches == [[0], [2]]


def test_a_deadline_that_passed_before_is_not_begun():
    gate = Gate(is_open=True)
    with pytest.raises(DeadlineExceeded):
        within(0.0, Batcher(gate, Limits(workers=1)).run, [1])
    assert gate.batches == []


def test_what_a_caller_wanted_who_has_gone_is_not_begun(clients):
    gate = Gate()
    batcher = Batcher(gate, Limits(workers=1, batch=8, waiting=1))
    first = clients.submit(batcher.run, [0])
    gate.wait_until_begun()
    request = copy_context()
    caller = request.run(call.begin, "test", PATIENCE)
    gone = clients.submit(request.run, batcher.run, [1])
    wait_until_full(batcher)
    caller.leave()
    gate.open()
    with pytest.raises(Cancelled):
        gone.result(PATIENCE / 2)
    assert first.result() == [0] and gate.batches == [[0]]


def test_many_callers_at_once(clients):
    gate = Gate(is_open=True)
    batcher = Batcher(gate, Limits(workers=3, batch=4, waiting=10_000))
    asked = [list(range(start, start + start % 5)) for start in range(400)]
    answers = list(clients.map(batcher.run, asked))
    assert answers == [[2 * item for item in items] for items in asked]
    assert sum(map(len, gate.batches)) == sum(map(len, asked)) and max(map(len, gate.batches)) <= 4


def test_batches_and_waits_are_measured(clients):
    gate, metrics = Gate(), Metrics("test")
    batcher = Batcher(gate, Limits(workers=1, batch=3, waiting=5), metrics.queue("numbers"))
    results = [clients.submit(batcher.run, [0])]
    gate.wait_until_begun()
    results.append(clients.submit(batcher.run, range(1, 6)))
    wait_until_full(batcher)
    gate.open()
    assert [result.result() for result in results] == [[0], [2, 4, 6, 8, 10]]
    get = partial(metrics.registry.get_sample_value, labels={"queue": "numbers"})
    assert (get("reco_batch_size_count"), get("reco_batch_size_sum")) == (3, 6)
    assert get("reco_queue_wait_seconds_count") == 6
    assert get("reco_queue_wait_seconds_sum") > 0
