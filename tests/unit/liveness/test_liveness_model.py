"""Which liveness model is meant, and loading it when it is needed. Networks are tiny, the workshop a stand-in."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from services.common.errors import ModelUnavailable
from services.common.faces import Box, Verdict
from services.common.models import Models, Wanted
from services.common.onnx import open_session
from services.liveness.face_classifier import FaceClassifier
from services.liveness.minifasnet import MiniFasNet
from services.liveness.model import LivenessModels, LivenessModelUnavailable, ModelSettings, check_photo
from tests.networks import brightness_classes, network, put_model


def face_classifier(side: int | None = 224) -> bytes:
    """A network of the original's form, whose input has sides of so many pixels (None: any)."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMax", ["mean"], ["top"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["top"], ["out"]),
    ]
    return network(nodes, ["n", side, side, 3], ["n", 1])


def two_networks(**of: bytes) -> dict[str, bytes]:
    return {"2.7": brightness_classes(), "4.0": of.get("second", brightness_classes())}


class FakeWorkshop:
    """Makes what it was given, by the model's name."""

    def __init__(self, into: Path, **networks: dict[str, bytes]):
        self.into, self.networks, self.orders = into, networks, []

    def __call__(self, wanted: Wanted) -> None:
        self.orders.append(wanted)
        if wanted.name not in self.networks:
            raise ModelUnavailable(f"{wanted.name} could not be had")
        put_model(self.into, wanted.name, self.networks[wanted.name])

    def sources(self, wanted: Wanted) -> tuple[object, ...]:
        return (len(self.networks),)


@pytest.fixture
def workshop(tmp_path) -> FakeWorkshop:
    return FakeWorkshop(tmp_path / "finished", MiniFASNet=two_networks())


@pytest.fixture
def settings(tmp_path) -> list[ModelSettings]:
    """What `.env` says; the first one counts."""
    return [ModelSettings(tmp_path / "a", "http://host/x", "MiniFASNet")]


@pytest.fixture
def models(tmp_path, workshop, settings) -> LivenessModels:
    finished = Models([tmp_path / "finished"], workshop)
    return LivenessModels(lambda: settings[0], finished, tmp_path / "cache", threshold=0.25)


def test_loads_once_and_again_for_other_settings(tmp_path, models, settings, workshop):
    first = models.current()
    assert (first.name, first.threshold) == ("MiniFASNet", 0.25)
    assert models.current() is first
    settings[0] = ModelSettings(tmp_path / "b", "http://host/x", "MiniFASNet")
    assert models.current() is not first
    assert workshop.orders == [Wanted("MiniFASNet", tmp_path / "a", "http://host/x")]


def test_a_keras_file_means_the_originals_kind_of_model(tmp_path, models, settings, workshop):
    workshop.networks["liveness_best.h5"] = {"liveness": face_classifier()}
    settings[0] = ModelSettings(tmp_path, "https://host/uc?id=1", "liveness_best.h5")
    assert not models.is_finished()
    model = models.current()
    assert (model.name, model.least_face) == ("liveness_best.h5", 224)
    assert workshop.orders == [Wanted("liveness_best.h5", tmp_path, "https://host/uc?id=1")]
    assert models.is_finished()


def test_says_why_it_cannot_load_and_takes_up_what_appears(models, workshop):
    made = workshop.networks.pop("MiniFASNet")
    for _ in range(2):
        with pytest.raises(LivenessModelUnavailable, match="MiniFASNet could not be had") as caught:
            models.current()
    assert caught.value.reason == "LIVENESS_MODEL_UNAVAILABLE" and len(workshop.orders) == 1
    workshop.networks["MiniFASNet"] = made
    assert models.current().name == "MiniFASNet"


def test_a_keras_file_that_cannot_be_had_says_what_does_as_well(tmp_path, models, settings):
    settings[0] = ModelSettings(tmp_path, "", "liveness_best.h5")
    with pytest.raises(LivenessModelUnavailable, match="liveness_best.h5 could not be had.*MODEL_NAME=MiniFASNet"):
        models.current()


def test_many_threads_load_once(models):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: models.current(), range(8)))
    assert len(set(map(id, found))) == 1


def test_a_network_that_cannot_be_run_is_unavailable(models, workshop):
    workshop.networks["MiniFASNet"] = two_networks(second=brightness_classes(side=96))
    with pytest.raises(LivenessModelUnavailable, match="MiniFASNet cannot be run"):
        models.current()


class Noting:
    """A model that notes what it is shown."""

    def __init__(self, least_face: int):
        self.least_face, self.seen = least_face, []

    def check(self, image, boxes):
        self.seen.append((image.shape, boxes))
        return []


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (FaceClassifier(open_session(face_classifier(224)), "tiny.h5", "1"), 250),
        (FaceClassifier(open_session(face_classifier(96)), "tiny.h5", "1"), 125),
        (FaceClassifier(open_session(face_classifier(None)), "tiny.h5", "1"), 250),  # which is then 224
        (MiniFasNet({}, "1"), 125),
    ],
)
def test_photos_are_decoded_as_small_as_the_model_allows(model, side):
    noting = Noting(model.least_face)
    photo = cv2.imencode(".jpg", np.full((1600, 2000, 3), 90, np.uint8))[1].tobytes()
    check_photo(noting, photo, [Box(400, 200, 1100, 1000)])
    ((height, width, _), (box,)) = noting.seen[0]
    assert (height * 1000, width * 1000) == (1600 * side, 2000 * side)
    assert (box.x, box.y, box.width, box.height) == (0.4 * side, 0.2 * side, 1.1 * side, side)


@pytest.fixture
def both(tmp_path, workshop, settings) -> LivenessModels:
    """Two models are meant."""
    workshop.networks["FacePluginLiveness"] = {"liveness": brightness_classes(side=128)}
    settings[0] = ModelSettings(tmp_path / "a", "http://host/x", "MiniFASNet+FacePluginLiveness")
    return LivenessModels(lambda: settings[0], Models([tmp_path / "finished"], workshop), tmp_path / "cache")


def test_two_models_judge_together(tmp_path, both, workshop):
    model = both.current()
    assert (model.name, model.threshold) == ("MiniFASNet+FacePluginLiveness", 0.45)
    assert workshop.orders == [
        Wanted("MiniFASNet", tmp_path / "a", "http://host/x"),
        Wanted("FacePluginLiveness", tmp_path / "a"),
    ]
    photo = np.zeros((400, 400, 3), np.uint8)
    photo[..., 1] = 150  # each takes green for the share of what is living
    alone = [one.check(photo, [Box(150, 150, 60, 60)])[0].score for one in model.models]
    assert model.check(photo, [Box(150, 150, 60, 60)])[0].score == pytest.approx(sum(alone) / 2)
    assert [face.verdict for face in model.check(photo, [Box(0, 0, 390, 390)])] == [Verdict.UNDECIDABLE]


@pytest.mark.parametrize(
    ("gone", "alone"), [("MiniFASNet", "FacePluginLiveness"), ("FacePluginLiveness", "MiniFASNet")]
)
def test_one_of_two_does_until_the_other_is_there(tmp_path, both, workshop, caplog, gone, alone):
    made = workshop.networks.pop(gone)
    assert both.current().name == alone
    assert f"liveness by {alone} alone" in caplog.text
    assert both.current() is both.current() and len(workshop.orders) == 2
    put_model(tmp_path / "finished", gone, made)
    assert both.current().name == "MiniFASNet+FacePluginLiveness"


def test_without_either_it_says_so_of_both(both, workshop):
    workshop.networks.clear()
    with pytest.raises(
        LivenessModelUnavailable, match="MiniFASNet could not be had.*FacePluginLiveness could not be had"
    ):
        both.current()


def test_each_alone_is_a_choice(tmp_path, both, settings):
    for name, threshold in (("minifasnet", 0.45), ("FacePluginLiveness", 0.25)):
        settings[0] = ModelSettings(tmp_path, "", name)
        model = both.current()
        assert (model.name.lower(), model.threshold) == (name.lower(), threshold)
