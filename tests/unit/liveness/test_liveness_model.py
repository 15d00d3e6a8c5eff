"""Which liveness model is meant, and loading it when it is needed."""

import threading

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploy.models.sources import MINIFASNET_URL, minifasnet_files
from services.common.faces import Box
from services.common.onnx import ORT_ERRORS, open_session
from services.liveness.face_classifier import KerasLiveness
from services.liveness.minifasnet import MiniFasNet, Verdict
from services.liveness.model import LivenessModels, LivenessModelUnavailable, ModelSettings, check_photo


def test_loads_once_and_again_for_other_settings(photos, tmp_path):
    settings = [ModelSettings(tmp_path / "a", "http://127.0.0.1:1/x", "MiniFASNet")]
    models = LivenessModels(lambda: settings[0], mirror=str(photos / "weights"), threshold=0.25)
    first = models.current()
    assert (first.name, first.version, first.threshold) == ("MiniFASNet", "a5eb02e1-84ee1d37", 0.25)
    assert models.current() is first
    settings[0] = ModelSettings(tmp_path / "b", "http://127.0.0.1:1/x", "MiniFASNet")
    assert models.current() is not first
    assert len(list((tmp_path / "b").glob("*.pth"))) == 2


def test_says_why_it_cannot_load_and_takes_up_a_file_that_appears(photos, tmp_path):
    models = LivenessModels(lambda: ModelSettings(tmp_path, "http://127.0.0.1:1/x", "MiniFASNet"))
    for _ in range(2):
        with pytest.raises(LivenessModelUnavailable, match="2.7_80x80_MiniFASNetV2.pth could not be had") as caught:
            models.current()
    assert caught.value.reason == "LIVENESS_MODEL_UNAVAILABLE"
    for path in (photos / "weights" / "minifasnet").glob("*.pth"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert models.current().name == "MiniFASNet"


def test_loads_from_a_file_address(photos, tmp_path):
    url = (photos / "weights" / "minifasnet").as_uri()
    assert LivenessModels(lambda: ModelSettings(tmp_path, url, "MiniFASNet")).current().name == "MiniFASNet"


def test_keras_models_need_the_converter_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RECO_CONVERT_PYTHON", "/nowhere")
    (tmp_path / "liveness_best.h5").write_bytes(b"a Keras file")
    models = LivenessModels(lambda: ModelSettings(tmp_path, "https://drive.google.com/uc?id=1", "liveness_best.h5"))
    with pytest.raises(LivenessModelUnavailable, match="make models.*MODEL_NAME=MiniFASNet"):
        models.current()


def test_many_threads_load_once(photos, tmp_path):
    models = LivenessModels(lambda: ModelSettings(tmp_path, "", "MiniFASNet"), mirror=str(photos / "weights"))
    found = []
    threads = [threading.Thread(target=lambda: found.append(models.current())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize(
    "url", [MINIFASNET_URL, MINIFASNET_URL + "/", MINIFASNET_URL.replace("/raw/", "/tree/"), "https://mirror.example/x"]
)
def test_addresses_of_the_files(url):
    folder = "https://mirror.example/x" if "mirror" in url else MINIFASNET_URL
    assert [file.url for file in minifasnet_files(url).values()] == [
        f"{folder}/2.7_80x80_MiniFASNetV2.pth",
        f"{folder}/4_0_0_80x80_MiniFASNetV1SE.pth",
    ]


def keras_model(side):
    """A network of the original's form, whose input has sides of so many pixels (None: any)."""
    nodes = [
        helper.make_node("ReduceMean", ["in"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMax", ["mean"], ["top"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["top"], ["out"]),
    ]
    given = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", side, side, 3])
    gives = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph(nodes, "one", [given], [gives])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return KerasLiveness(open_session(model.SerializeToString()), "tiny.h5", "1")


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (keras_model(224), 250),
        (keras_model(96), 125),
        (keras_model(None), 250),  # which is then 224
        (MiniFasNet({}, "1"), 125),
    ],
)
def test_photos_are_decoded_as_small_as_the_model_allows(model, side, monkeypatch):
    seen = []
    monkeypatch.setattr(model, "check", lambda image, boxes: seen.append((image.shape, boxes)) or [])
    photo = cv2.imencode(".jpg", np.full((1600, 2000, 3), 90, np.uint8))[1].tobytes()
    check_photo(model, photo, [Box(400, 200, 1100, 1000)])
    ((height, width, _), (box,)) = seen[0]
    assert (height * 1000, width * 1000) == (1600 * side, 2000 * side)
    assert (box.x, box.y, box.width, box.height) == (0.4 * side, 0.2 * side, 1.1 * side, side)


def test_a_model_has_run_before_it_is_used(photos, tmp_path, monkeypatch):
    seen, check = [], MiniFasNet.check
    monkeypatch.setattr(MiniFasNet, "check", lambda *given: seen.append(check(*given)) or seen[-1])
    LivenessModels(lambda: ModelSettings(tmp_path, "", "MiniFASNet"), mirror=str(photos / "weights")).current()
    ((face,),) = seen
    assert face.verdict is not Verdict.UNDECIDABLE  # the networks did run


def test_a_model_that_cannot_be_run_is_unavailable(photos, tmp_path, monkeypatch):
    def fail(*_):
        raise ORT_ERRORS[0]("no such operator")

    monkeypatch.setattr(MiniFasNet, "check", fail)
    with pytest.raises(LivenessModelUnavailable, match="MiniFASNet cannot be run: no such operator"):
        LivenessModels(lambda: ModelSettings(tmp_path, "", "MiniFASNet"), mirror=str(photos / "weights")).current()
