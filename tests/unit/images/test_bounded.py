"""services/images/bounded.py: processes that decode, and what becomes of one that takes too much."""

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context

import pytest
from PIL import Image

from services.common import call
from services.common.errors import Cancelled, DeadlineExceeded, ImageTooLarge, InvalidImage
from services.images import bounded
from services.images.bounded import Decoder, Decoders
from services.images.process import Job


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    decoders = Decoders()
    yield decoders
    decoders.close()


def picture(kind: str = "GIF", side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 77).save(file, kind)
    return file.getvalue()


GIF = Job("GIF", 1_000_000)


def endless(decoder: Decoder) -> None:
    """From now on the process gets no further."""
    os.kill(decoder._process.pid, signal.SIGSTOP)


def test_one_process_serves_many_and_bad_pictures_do_not_end_it(decoders):
    for _ in range(3):
        pixels, orientation = decoders.decode(GIF, picture())
        assert pixels.shape == (8, 8, 3) and (pixels == 77).all() and orientation == 1
        pixels[:] = 0  # it is ours
        with pytest.raises(InvalidImage):
            decoders.decode(GIF, b"GIF89a")
        with pytest.raises(ImageTooLarge):
            decoders.decode(GIF, picture(side=1001))
    assert len(decoders._idle) == 1


def test_a_process_that_dies_is_replaced(decoders):
    decoders.decode(GIF, picture())
    (first,) = decoders._idle
    os.kill(first._process.pid, signal.SIGKILL)
    first._process.wait()
    assert decoders.decode(GIF, picture())[0].shape == (8, 8, 3)
    assert decoders._idle != [first]


def test_a_picture_that_takes_too_long_is_undecodable(decoders, monkeypatch):
    decoders.decode(GIF, picture())
    monkeypatch.setattr(bounded, "MAX_WAIT", 0.2)
    endless(decoders._idle[0])
    with pytest.raises(InvalidImage, match="0 s"):
        decoders.decode(GIF, picture())
    assert decoders._idle == []
    monkeypatch.undo()
    assert decoders.decode(GIF, picture())[0].shape == (8, 8, 3)


@pytest.mark.parametrize("gone", [True, False])
def test_a_picture_whose_caller_gives_up_is_given_up(decoders, gone):
    def run() -> None:
        caller = call.begin("test", 60 if gone else 0.3)
        if gone:
            threading.Timer(0.3, caller.leave).start()
        with pytest.raises(Cancelled if gone else DeadlineExceeded):
            decoders.decode(GIF, picture())

    decoders.decode(GIF, picture())
    (stopped,) = decoders._idle
    endless(stopped)
    came = time.monotonic()
    copy_context().run(run)
    assert time.monotonic() - came < 5 and not stopped.is_alive()


def test_processes_end_with_ours():
    decoder = Decoder()
    decoder._socket.close()
    assert decoder._process.wait(10) == 0
