"""What uploads may take of the gateway's memory, over all clients."""

import threading
from pathlib import Path

import pytest

from services.common.errors import DeadlineExceeded
from services.gateway.api.upload_memory import NoRoom, UploadMemory
from services.gateway.pipeline.parallel import Budget
from services.gateway.pipeline.upload import MAX_PHOTO_BYTES
from tests.unit.gateway.fake_gateway import FakeGateway, within
from tests.unit.gateway.rest_requests import ANN, code_of, upload


def test_uploads_find_room_while_there_is_some():
    room = UploadMemory(10)
    with room.place() as first, room.place() as second:
        assert list(first.hold([b"1234", b"56"])) == [b"1234", b"56"]
        held = second.hold([b"1234", b"5"])
        assert next(held) == b"1234"
        with pytest.raises(NoRoom):
            next(held)
        assert list(held) == []
    with room.place() as third:
        assert list(third.hold([bytes(10)])) == [bytes(10)]


def test_what_is_worked_on_waits_for_its_turn():
    budget, begun, done = Budget(10), threading.Event(), []

    def work() -> None:
        begun.set()
        with budget.hold(5):
            done.append("second")

    with budget.hold(6):
        other = threading.Thread(target=work)
        other.start()
        assert begun.wait(5)
        with budget.hold(4):
            done.append("first")
    other.join(5)
    assert done == ["first", "second"]


def test_what_is_larger_than_all_there_is_goes_alone():
    budget = Budget(10)
    with budget.hold(11), pytest.raises(DeadlineExceeded):
        within(0.05, lambda: budget.hold(1).__enter__())
    with budget.hold(10):
        pass


def test_a_file_that_is_too_large_for_a_photo_is_not_looked_at(gateway: FakeGateway, tmp_path: Path):
    gateway.set_env(upload_folder=tmp_path)
    answer = upload(gateway, ANN, ANN + bytes(MAX_PHOTO_BYTES))
    assert code_of(answer) == 119
    assert answer["upload_results"]["errors"] == ["p1.jpg"]
    assert gateway.steps.counts["detector.score"] == 1
