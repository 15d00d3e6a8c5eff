"""Finished models: found and checked, made where they are missing, failures remembered. The workshop is a stand-in."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from services.common import call
from services.common.errors import ModelUnavailable
from services.common.models import FinishedModel, FinishedNetwork, Models, Wanted, find, record_path, to_record

PATIENCE = 30


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put_model(folder: Path, name: str = "Dlib", content: bytes = b"a network", weights: bytes = b"weights") -> None:
    """Writes a finished model of one network, made of a file `<name>.dat`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(content)
    network = FinishedNetwork(f"{name}.onnx", digest(content), f"{name}.dat", digest(weights), 2)
    record_path(folder, name).write_text(to_record(FinishedModel(name, folder, {"recogniser": network})))


class FakeWorkshop:
    """Makes a model when it is let, or fails."""

    def __init__(self, into: Path):
        self.into, self.orders, self.error = into, [], ""
        self.may_end = threading.Event()
        self.may_end.set()
        self.seen = 0

    def __call__(self, wanted: Wanted) -> None:
        self.orders.append(wanted)
        assert self.may_end.wait(PATIENCE)
        if self.error:
            raise ModelUnavailable(self.error)
        put_model(self.into, wanted.name)

    def sources(self, wanted: Wanted) -> tuple[object, ...]:
        return (self.seen,)


@pytest.fixture
def wanted(tmp_path) -> Wanted:
    return Wanted("Dlib", tmp_path / "weights")


@pytest.fixture
def workshop(tmp_path) -> FakeWorkshop:
    return FakeWorkshop(tmp_path / "cache")


@pytest.fixture
def models(tmp_path, workshop) -> Models:
    return Models([tmp_path / "baked", tmp_path / "cache"], workshop)


def within(seconds, function, *args):
    def run():
        call.begin("test", seconds)
        return function(*args)

    return copy_context().run(run)


def test_a_finished_model_tells_what_it_was_made_of(tmp_path):
    put_model(tmp_path)
    model = find(tmp_path, "Dlib", tmp_path / "weights")
    assert model.path("recogniser").read_bytes() == b"a network"
    assert (model.networks["recogniser"].weights_sha256, model.networks["recogniser"].maker) == (digest(b"weights"), 2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "Dlib.onnx").write_bytes(b"half a net"),
        lambda folder: (folder / "Dlib.onnx").unlink(),
        lambda folder: (folder / "Dlib.json").write_text("{"),
        lambda folder: (folder / "Dlib.json").write_text("[]"),
        lambda folder: (folder / "Dlib.json").write_text('{"format": 1, "networks": {"recogniser": {}}}'),
        lambda folder: (folder / "Dlib.json").write_text((folder / "Dlib.json").read_text().replace(": 1,", ": 0,")),
        lambda folder: (folder / "weights" / "Dlib.dat").write_bytes(b"other weights"),
    ],
)
def test_what_is_not_whole_or_out_of_date_is_not_found(tmp_path, damage):
    put_model(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "Dlib.dat").write_bytes(b"weights")
    assert find(tmp_path, "Dlib", tmp_path / "weights")
    damage(tmp_path)
    assert find(tmp_path, "Dlib", tmp_path / "weights") is None


def test_a_finished_model_is_given_at_once(tmp_path, models, wanted, workshop):
    put_model(tmp_path / "baked")
    assert models.get(wanted).folder == tmp_path / "baked"
    assert not workshop.orders


def test_a_missing_model_is_made(tmp_path, models, wanted, workshop):
    assert models.find(wanted) is None and not workshop.orders
    assert models.get(wanted).folder == tmp_path / "cache"
    assert models.find(wanted)
    assert workshop.orders == [wanted]


def test_it_is_made_once_for_all_who_wait(models, wanted, workshop):
    workshop.may_end.clear()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(models.get, wanted) for _ in range(4)]
        workshop.may_end.set()
        assert all(one.result().name == "Dlib" for one in waiting)
    assert workshop.orders == [wanted]


def test_nobody_waits_longer_than_the_request_may_last(tmp_path, models, wanted, workshop):
    workshop.may_end.clear()
    with pytest.raises(ModelUnavailable, match="is being made ready"):
        within(1.01, models.get, wanted)
    put_model(tmp_path / "cache", "Other")
    assert models.get(Wanted("Other", tmp_path / "weights")).name == "Other"  # goes on with what it has
    workshop.may_end.set()
    assert models.get(wanted).name == "Dlib"
    assert workshop.orders == [wanted]


def test_a_failure_is_remembered_until_a_file_appears(models, wanted, workshop):
    workshop.error = "net.dat could not be had"
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="net.dat could not be had"):
            models.get(wanted)
    assert len(workshop.orders) == 1
    workshop.error, workshop.seen = "", 1
    assert models.get(wanted).name == "Dlib"


def test_a_failure_is_forgotten_after_a_while(tmp_path, wanted, workshop):
    models = Models([tmp_path / "cache"], workshop, retry_after=0.05)
    workshop.error = "no"
    with pytest.raises(ModelUnavailable):
        models.get(wanted)
    workshop.error = ""
    time.sleep(0.06)
    assert models.get(wanted).name == "Dlib"
