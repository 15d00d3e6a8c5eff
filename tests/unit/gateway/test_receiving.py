"""Bodies of uploads: in time or not at all, whole before they are worked on, bounded on disk."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gateway.api import receiving
from services.gateway.api.receiving import MEMORY, BodyTooSlow, Receiver, TooManyUploads, UploadBounds
from services.gateway.errors import StorageRefused

QUICK = UploadBounds(pause=0.1, progress=10, disk=4 * MEMORY, working=1, waiting=1)


def trickle(piece: bytes, count: int, pause: float) -> Iterator[bytes]:
    for _ in range(count):
        time.sleep(pause)
        yield piece


def test_a_body_that_makes_progress_may_take_its_time():
    coming = Receiver(QUICK).in_time(trickle(b"0123456789", 6, 0.05), len)
    assert b"".join(coming) == b"0123456789" * 6


@pytest.mark.parametrize("piece, pause", [(b"0", 0.03), (b"0123456789", 10.0)])
def test_a_body_that_trickles_or_stops_is_too_slow(piece: bytes, pause: float):
    started = time.monotonic()
    with pytest.raises(BodyTooSlow):
        list(Receiver(QUICK).in_time(trickle(piece, 100, pause), len))
    assert time.monotonic() - started < 2


def test_what_the_source_raises_is_raised():
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise KeyError("gone")

    coming = Receiver(QUICK).in_time(broken(), len)
    assert next(coming) == b"a"
    with pytest.raises(KeyError):
        next(coming)


@pytest.mark.parametrize("size", [0, 1, MEMORY, 3 * MEMORY])
def test_a_body_is_passed_on_when_it_is_whole(tmp_path: Path, size: int):
    sent: list[int] = []

    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 100_000):
            sent.append(start)
            yield bytes(min(100_000, size - start))

    with Receiver(QUICK).whole(pieces(), tmp_path) as body:
        assert len(sent) == -(-size // 100_000)
        assert b"".join(body) == bytes(size)
    assert list(tmp_path.iterdir()) == []


def test_all_bodies_together_are_bounded(tmp_path: Path):
    receiver = Receiver(QUICK)
    with receiver.whole(iter([bytes(3 * MEMORY)]), tmp_path):
        with pytest.raises(TooManyUploads), receiver.whole(iter([bytes(2 * MEMORY)]), tmp_path):
            pass
        with receiver.whole(iter([bytes(MEMORY)]), tmp_path):
            pass
    with receiver.whole(iter([bytes(4 * MEMORY)]), tmp_path) as body:
        assert sum(map(len, body)) == 4 * MEMORY


def test_a_folder_that_cannot_be_written_to(tmp_path: Path):
    with (
        pytest.raises(StorageRefused),
        Receiver(QUICK).whole(iter([bytes(2 * MEMORY)]), tmp_path / "missing"),
    ):
        pass


def test_more_work_than_may_wait_is_refused():
    receiver, release = Receiver(QUICK), threading.Event()
    working = [threading.Thread(target=receiver.work, args=(release.wait, 10)) for _ in range(2)]
    for thread in working:
        thread.start()
    time.sleep(0.1)
    with pytest.raises(TooManyUploads):
        receiver.work(len, "")
    release.set()
    for thread in working:
        thread.join()
    assert receiver.work(len, "ab") == 2


def test_what_is_on_disk_of_a_body_cannot_be_read_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[bytes] = []
    write = receiving._write
    monkeypatch.setattr(receiving, "_write", lambda file, data: (written.append(data), write(file, data)))
    with Receiver(QUICK).whole(iter([b"photo" * 1000]), tmp_path) as body:
        assert b"".join(body) == b"photo" * 1000
    assert b"photo" not in b"".join(written)
