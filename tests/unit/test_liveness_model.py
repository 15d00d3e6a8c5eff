"""Which liveness model is meant, and loading it when it is needed."""

import threading

import pytest

from services.liveness.model import LivenessModels, LivenessModelUnavailable, ModelSettings
from services.liveness.weights import MINIFASNET_URL, minifasnet_files


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
