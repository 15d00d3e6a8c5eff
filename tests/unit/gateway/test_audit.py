"""The audit log: what it tells, and that it cannot be changed unseen."""

import multiprocessing
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common import call
from services.common.errors import InvalidRequest
from services.gateway.access.audit import Event, append, entries
from services.gateway.errors import NotEnrolled
from services.gateway.pipeline.audited import audited
from services.gateway.pipeline.verify import VerifyOptions
from tests.fakes import fake_photo
from tests.unit.gateway.fake_gateway import FakeGateway

ANN = fake_photo("ann")


def event(number: int = 0) -> Event:
    return Event("door", "verify", f"RECO_ID_{number}", "verified", f"r-{number}")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """With five entries."""
    path = tmp_path / "log" / "audit.log"
    for number in range(5):
        append(path, event(number))
    return path


def problems(path: Path) -> list[int]:
    return [entry.number for entry in entries(path) if entry.problem]


def test_what_was_written_is_read(log: Path):
    assert [entry.event for entry in entries(log)] == [event(number) for number in range(5)]
    assert problems(log) == []


def test_nobody_else_can_read_it(log: Path):
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda all: [*all[:2], *all[3:]], [3]),  # a line is taken out
        (lambda all: all[1:], [1]),
        (lambda all: [all[1], all[0], *all[2:]], [1, 2, 3]),
        (lambda all: [*all[:2], all[2].replace(b"RECO_ID_2", b"RECO_ID_7"), *all[3:]], [3]),
        (lambda all: [*all[:2], all[2].replace(b'"key"', b'"key": "gate", "key"'), *all[3:]], [3]),
        (lambda all: [*all[:2], b"\n", *all[2:]], [3]),
        (lambda all: [*all[:2], b'{"hash": 1}\n', *all[2:]], [3]),
        (lambda all: [*all[:2], b"[]\n", b"\xff\n", *all[2:]], [3, 4]),
        (lambda all: [*all, all[-1]], [6]),
    ],
)
def test_a_change_is_named_by_its_line(log: Path, change: Callable[[list[bytes]], list[bytes]], broken: list[int]):
    lines(log, change)
    assert problems(log) == broken


def test_a_hash_that_was_made_anew_breaks_the_next_line(log: Path, tmp_path: Path):
    """Who changes a line and its hash has to change all that follow, whose last hash somebody may have noted."""
    forged = tmp_path / "forged.log"
    append(forged, event(0))
    append(forged, event(7))
    lines(log, lambda all: [all[0], forged.read_bytes().splitlines(keepends=True)[1], *all[2:]])
    assert problems(log)[0] in (2, 3)


def test_half_a_line_stays_to_be_seen_and_the_next_one_is_whole(log: Path):
    log.write_bytes(log.read_bytes()[:-20])
    append(log, event(5))
    assert problems(log) == [5]
    assert [entry.event for entry in entries(log)][-1] == event(5)


def test_values_of_any_length_and_content_make_one_line(tmp_path: Path):
    path = tmp_path / "audit.log"
    append(path, Event("door", "upload", "\x00\n" + "😀" * 100_000, "PERSON_ID_INVALID", "-"))
    append(path, event())
    assert len(path.read_bytes().splitlines()) == 2 and problems(path) == []


def many(path: Path) -> None:
    for number in range(50):
        append(path, event(number))


def test_several_processes_write_one_chain(tmp_path: Path):
    path = tmp_path / "audit.log"
    processes = [multiprocessing.get_context("spawn").Process(target=many, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(list(entries(path))) == 150 and problems(path) == []


def test_each_action_leaves_a_line(gateway: FakeGateway):
    events: list[Event] = []
    pipeline = audited(gateway.pipeline, events.append)
    call.begin("r-1", 60, "door")
    with pytest.raises(InvalidRequest):
        pipeline.uploader.upload(gateway.workspace, "nobody", [])
    pipeline.enroller.enroll(gateway.workspace, gateway.upload(ANN), "Ann Lee", False)
    pipeline.verifier.verify(gateway.workspace, gateway.upload(ANN), VerifyOptions())
    pipeline.enroller.delete(gateway.workspace, "RECO_ID_1")
    with pytest.raises(NotEnrolled):
        pipeline.enroller.delete(gateway.workspace, "RECO_ID_1")
    assert [(line.action, line.person, line.outcome) for line in events] == [
        ("upload", "nobody", "PERSON_ID_INVALID"),
        ("enroll", "RECO_ID_1", "created"),
        ("verify", "RECO_ID_1", "verified"),
        ("erase", "RECO_ID_1", "erased"),
        ("erase", "RECO_ID_1", "NOT_ENROLLED"),
    ]
    assert {(line.key, line.request) for line in events} == {("door", "r-1")}
