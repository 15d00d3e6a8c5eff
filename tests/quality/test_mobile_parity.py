"""The networks that npm packages carry against what runs their files as they are, on real faces."""

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.models.keras.convert import converter
from services.common.models import FinishedModel
from services.common.onnx import open_session
from services.embedder.recognition import catalogue, recogniser
from services.embedder.recognition.alignment import show
from tests.machine import ROOT
from tests.models import finished
from tests.quality.chain import Chain, central_crop
from tests.quality.faces import portraits

FACES = 24


@pytest.fixture(scope="module")
def models(photos, tmp_path_factory) -> dict[str, FinishedModel]:
    folder = tmp_path_factory.mktemp("mobile")
    return {name: finished(name, photos / "weights", folder) for name in ("MobileFaceNet", "FacePlugin")}


@pytest.fixture(scope="module")
def faces(photos, tmp_path_factory) -> list[np.ndarray]:
    """uint8 (112, 112, 3) BGR: faces of LFW, as the services find and align them."""
    paths = sorted((photos / "faces" / "lfw_dev").glob("*/*.jpg"))
    chain = Chain((), True, tmp_path_factory.mktemp("chain"))
    crops = [central_crop(chain, path) for path in paths[:: len(paths) // FACES][:FACES]]
    spec = catalogue.find("MobileFaceNet")
    found = [show(crop, spec.alignment, view) for crop in crops if crop for view in spec.views]
    assert len(found) > FACES
    return found


def templates(name: str, model: FinishedModel, faces: list[np.ndarray], cache: Path) -> np.ndarray:
    return recogniser.load(catalogue.find(name).one_view(), model, cache).embed_aligned(faces)


def assert_same(mine: np.ndarray, theirs: np.ndarray) -> None:
    """That the largest difference is 1e-5, at unit length."""
    assert mine.shape == theirs.shape
    ours, other = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (mine, theirs))
    lengths = np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    print(f"largest difference {np.abs(ours - other).max():.1e}, of lengths {np.abs(lengths - 1).max():.1e}")
    assert np.abs(ours - other).max() < 1e-5 and np.abs(lengths - 1).max() < 1e-5
    assert np.ptp(other, axis=0).max() > 0.1  # else anything would pass


def test_faceplugin_is_the_file_that_was_published(models, faces, photos, tmp_path):
    spec = catalogue.find("FacePlugin")
    inputs = recogniser.normalise(np.stack(faces), spec.normalisation).transpose(0, 3, 1, 2)
    theirs = open_session(photos / "weights" / "faceplugin" / "fr_feature.onnx")
    wanted = np.concatenate([theirs.run(None, {"input": np.ascontiguousarray(one[None])})[0] for one in inputs])
    assert_same(templates("FacePlugin", models["FacePlugin"], faces, tmp_path), wanted)


def test_mobilefacenet_is_what_tensorflow_lite_gives(models, faces, photos, tmp_path):
    if not converter().is_file():
        pytest.skip("TensorFlow is not installed (.venv-convert); `make test` installs it")
    spec = catalogue.find("MobileFaceNet")
    np.save(tmp_path / "in.npy", recogniser.normalise(np.stack(faces), spec.normalisation))
    files = [photos / "weights" / "mobilefacenet" / "MobileFaceNet.tflite", tmp_path / "in.npy", tmp_path / "out.npy"]
    command = [converter(), "-m", "tests.quality.tflite_reference", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert_same(templates("MobileFaceNet", models["MobileFaceNet"], faces, tmp_path), np.load(tmp_path / "out.npy"))


def test_the_liveness_network_is_the_file_that_was_published(photos, tmp_path):
    faces = np.stack([cv2.resize(photo, (128, 128)) for photo in portraits(FACES)]).astype(np.float32)
    model = finished("FacePluginLiveness", photos / "weights", tmp_path)
    (mine,) = open_session(model.path("liveness")).run(None, {"pixels": faces})
    theirs = open_session(photos / "weights" / "faceplugin" / "fr_liveness.onnx")
    inputs = [np.ascontiguousarray(face.transpose(2, 0, 1)[None]) for face in faces]
    powers = np.exp(np.concatenate([theirs.run(None, {"input": one})[0] for one in inputs]).astype(np.float64))
    print(f"largest difference {np.abs(mine - powers / powers.sum(axis=1, keepdims=True)).max():.1e}")
    np.testing.assert_allclose(mine, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.ptp(mine, axis=0).max() > 0.1  # else anything would pass


@pytest.mark.parametrize("name", ["MobileFaceNet", "FacePlugin"])
def test_a_batch_changes_nothing(name, models, faces, tmp_path):
    """Though the files say 2 and 1."""
    one = recogniser.load(catalogue.find(name).one_view(), models[name], tmp_path)
    alone = np.concatenate([one.embed_aligned([face]) for face in faces[:5]])
    np.testing.assert_allclose(one.embed_aligned(faces[:5]), alone, atol=1e-4 * np.abs(alone).max())
