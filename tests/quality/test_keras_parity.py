"""Networks converted from Keras files against Keras itself, on real faces. Files of deepface's form, random weights."""

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.models.keras.convert import convert, converter
from deploy.models.sources import networks_of
from services.common.errors import ModelUnavailable
from services.common.faces import Box, Verdict
from services.common.models import find, open_models
from services.embedder.recognition import catalogue, recogniser
from services.liveness.model import LivenessModels, LivenessModelUnavailable, ModelSettings
from tests.fileserver import FileServer, Handler, serving
from tests.machine import ROOT
from tests.models import finished
from tests.quality.faces import portraits

#: `make test` takes the first two: the smallest, and the one most used. `make test KERAS=all` takes all. On two cores
#: that others used as well the first two took two minutes, OpenFace and GhostFaceNet three more; installing two.
NETWORKS = ("DeepID", "ArcFace", "OpenFace", "GhostFaceNet", "Facenet", "Facenet512", "DeepFace", "VGG-Face")
ALWAYS = NETWORKS[:2]
FACES = 5


@pytest.fixture(scope="module")
def reference():
    """Runs tests.quality.keras_reference in the environment that has TensorFlow."""
    if not converter().is_file():
        pytest.skip("TensorFlow is not installed (.venv-convert); `make test` installs it")

    def run(*arguments) -> None:
        command = [converter(), "-m", "tests.quality.keras_reference", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-3000:]

    return run


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    """uint8 BGR: the middles of portraits, which are faces."""
    return middles(portraits(FACES))


def middles(photos: list[np.ndarray]) -> list[np.ndarray]:
    return [photo[60:190, 60:190] for photo in photos]


def test_there_are_faces_without_the_shared_photos(tmp_path):
    """Else the tests below would shrink to nothing where those are not at hand."""
    found = middles(portraits(FACES, tmp_path))
    assert [face.shape for face in found] == [(130, 130, 3)] * FACES
    assert all(np.abs(one.astype(int) - other).mean() > 10 for one, other in itertools.combinations(found, 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_recognisers_are_keras(name, reference, faces, tmp_path):
    if name not in ALWAYS and os.environ.get("KERAS") != "all":
        pytest.skip("large; `make test KERAS=all` runs it")
    spec = catalogue.find(name).one_view()
    weights = tmp_path / "models" / networks_of(name)["recogniser"][1].name
    weights.parent.mkdir()
    reference("weights", name, weights)
    ours = recogniser.load(spec, finished(name, folder=tmp_path), tmp_path / "cache")
    chips = [cv2.resize(face, (spec.alignment.width, spec.alignment.height)) for face in faces]
    np.save(tmp_path / "in.npy", recogniser.normalise(np.stack(chips), spec.normalisation))
    reference("outputs", name, weights, tmp_path / "in.npy", tmp_path / "out.npy")
    mine, theirs = ours.embed_aligned(chips).astype(np.float64), np.load(tmp_path / "out.npy").astype(np.float64)
    assert mine.shape == theirs.shape == (len(chips), spec.dimension)
    cosines = (mine * theirs).sum(axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    print(f"{name}: 1 - cos up to {(1 - cosines).max():.1e}")
    assert (1 - cosines).max() < 1e-5
    assert np.abs(mine - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert np.ptp(theirs, axis=0).max() > 0  # else anything would pass
    shutil.rmtree(tmp_path / "cache")  # hundreds of megabytes


@pytest.mark.usefixtures("reference")
def test_broken_weights_are_unavailable_and_leave_nothing(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"<html>no weights</html>")
    with pytest.raises(ModelUnavailable, match="could not be converted"):
        convert(tmp_path / "w.h5", tmp_path / "w.onnx", "DeepID")
    assert [path.name for path in tmp_path.iterdir()] == ["w.h5"]


def liveness_models(settings: ModelSettings, folder: Path) -> LivenessModels:
    """Those of a liveness service whose cache is in a folder of the test's own."""
    return LivenessModels(lambda: settings, open_models(folder / "cache", folder / "models", None), folder / "cache")


def test_liveness_file_is_fetched_converted_and_keras(reference, faces, tmp_path):
    reference("liveness", tmp_path / "made.h5")
    photo = np.full((400, 400, 3), 90, np.uint8)
    photo[50:180, 30:160], photo[200:330, 220:350] = faces[0], faces[1]
    boxes = [Box(30, 50, 130, 130), Box(220, 200, 130, 130), Box(390, 390, 100, 100)]
    with serving(FileServer((tmp_path / "made.h5").read_bytes())) as server:
        settings = ModelSettings(tmp_path / "models", f"{server.url}/uc?id=1", "liveness_best.h5")
        model = liveness_models(settings, tmp_path).current()
    found = model.check(photo, boxes)
    crops = np.stack([cv2.resize(face, (224, 224)) for face in faces[:2]]).astype(np.float32)
    np.save(tmp_path / "in.npy", crops)
    reference("outputs", "-", tmp_path / "made.h5", tmp_path / "in.npy", tmp_path / "out.npy")
    spoof = np.load(tmp_path / "out.npy")[:, 0]
    np.testing.assert_allclose([face.score for face in found[:2]], 1 - spoof, atol=1e-5)
    assert [face.verdict for face in found[:2]] == [Verdict.SPOOF if p >= 0.7 else Verdict.REAL for p in spoof]
    assert found[2].verdict == Verdict.UNDECIDABLE
    assert (model.name, model.threshold) == ("liveness_best.h5", 0.3)


def test_liveness_file_with_code_in_it_is_refused(reference, tmp_path):
    reference("lambda", tmp_path / "code.h5")
    with pytest.raises(LivenessModelUnavailable, match="Lambda"):
        liveness_models(ModelSettings(tmp_path, "", "code.h5"), tmp_path).current()


class OneOfEach(Handler):
    """Serves `server.files` by name; else 404."""

    def do_GET(self):
        self.server.content = self.server.files.get(self.path.rsplit("/", 1)[-1])
        self.server.status = 200 if self.server.content else 404
        super().do_GET()


def test_make_models_end_to_end(reference, tmp_path):
    """From a mirror, by `make`: one file is cut off half-way and continued, one is not what it was before."""
    reference("weights", "DeepID", tmp_path / "deepid.h5")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "arcface_weights.h5.sha256").write_text(f"{'0' * 64}  arcface_weights.h5\n")
    server = FileServer(b"")
    server.RequestHandlerClass = OneOfEach
    server.files = {"deepid_keras_weights.h5": (tmp_path / "deepid.h5").read_bytes(), "arcface_weights.h5": b"other"}
    server.cuts = [len(server.files["deepid_keras_weights.h5"]) // 2]
    with serving(server):
        environment = {
            "RECO_MIRROR": server.url,
            "RECO_MODELS": str(tmp_path / "models"),
            "RECO_CACHE": str(tmp_path / "cache"),
            "https_proxy": "http://127.0.0.1:1",  # the web is not to be asked
        }
        done = subprocess.run(
            ["make", "models", "MODELS=DeepID,ArcFace"],
            cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    assert done.returncode != 0
    assert "DeepID: ready" in done.stdout
    assert "ArcFace: arcface_weights.onnx could not be had" in done.stderr
    assert [bytes_from for _, bytes_from in server.requests if bytes_from]  # it went on where it had stopped
    assert not (tmp_path / "models" / "arcface_weights.h5").exists()
    assert find(tmp_path / "cache" / "models", "DeepID", tmp_path / "models")
