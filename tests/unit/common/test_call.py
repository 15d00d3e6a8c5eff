"""services/common/call.py: who waits for an answer, and that nothing is begun for nobody."""

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps

import pytest

from services.common import call
from services.common.errors import Cancelled, DeadlineExceeded


def in_a_request_of_its_own(test: Callable[[], None]) -> Callable[[], None]:
    return wraps(test)(lambda: copy_context().run(test))


def test_nobody_has_gone_outside_of_any_request():
    call.check()
    assert not call.caller().is_gone


@in_a_request_of_its_own
def test_a_caller_that_leaves_is_noticed():
    caller = call.begin("test", 60)
    call.check()
    caller.leave()
    with pytest.raises(Cancelled):
        call.check()


@in_a_request_of_its_own
def test_a_deadline_that_has_passed_is_told_from_a_caller_that_left():
    call.begin("test", 0).leave()
    with pytest.raises(DeadlineExceeded):
        call.check()


def test_leaving_tells_whoever_is_busy_and_nobody_else():
    caller, told = call.Caller(), []
    with caller.telling(lambda: told.append("first")):
        pass
    with caller.telling(lambda: told.append("second")):
        caller.leave()
        assert told == ["second"]
    with caller.telling(lambda: told.append("late")):
        assert told == ["second", "late"]
