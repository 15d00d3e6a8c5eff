"""Bringing faces to a network's canonical points."""

import numpy as np
import pytest

from services.common.errors import InvalidRequest, UnknownModel
from services.common.faces import FaceCrop
from services.embedder.recognition import catalogue as models
from services.embedder.recognition.alignment import Alignment, align

POINTS = ((30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0))
SQUARE = Alignment("test", 100, 100, POINTS)


def turned(points, degrees, scale, shift):
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * np.asarray(points) @ rotation.T + shift


def blobs(points, size, radius):
    """A black picture with a soft white spot at each point (in our coordinates: pixel centres are at .5)."""
    y, x = np.mgrid[:size, :size] + 0.5
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in points]
    return np.repeat((255 * np.clip(sum(spots), 0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def centre_near(picture, point, reach=9):
    """The centre of light in a window around a point."""
    left, top = int(point[0]) - reach, int(point[1]) - reach
    window = picture[top : top + 2 * reach + 1, left : left + 2 * reach + 1, 0].astype(float)
    y, x = np.mgrid[: window.shape[0], : window.shape[1]] + 0.5
    return np.array([left + (x * window).sum() / window.sum(), top + (y * window).sum() / window.sum()])


@pytest.mark.parametrize(("degrees", "scale"), [(0, 2.0), (20, 1.0), (-35, 4.0), (10, 0.5)])
def test_landmarks_come_to_the_canonical_points(degrees, scale):
    size = int(130 * scale)
    middle = np.array([size, size]) / 2
    landmarks = turned(np.array(POINTS) - 50, degrees, scale, middle)
    picture = blobs(landmarks, size, radius=3 * scale)
    aligned = align(FaceCrop(picture, landmarks.astype(np.float32)), SQUARE)
    assert aligned.shape == (100, 100, 3) and aligned.dtype == np.uint8
    for point in POINTS:
        np.testing.assert_allclose(centre_near(aligned, point), point, atol=0.12)


def test_a_crop_that_is_in_place_already_is_left_as_it_is():
    picture = np.random.default_rng(1).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    aligned = align(FaceCrop(picture, np.array(POINTS, np.float32)), SQUARE)
    assert np.abs(aligned.astype(int) - picture).max() <= 1


def test_stretch_widens_the_face_only():
    wide = Alignment("wide", 150, 100, tuple((1.5 * x, y) for x, y in POINTS), stretch=1.5)
    picture = blobs(POINTS, 100, radius=3)
    aligned = align(FaceCrop(picture, np.array(POINTS, np.float32)), wide)
    for point in wide.points:
        np.testing.assert_allclose(centre_near(aligned, point), point, atol=0.12)


def test_shrinking_does_not_alias():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    landmarks = (np.array(POINTS) * 7.3).astype(np.float32)
    aligned = align(FaceCrop(stripes, landmarks), SQUARE)
    assert np.abs(aligned.astype(float) - 127.5).max() < 25


def test_outside_of_the_crop_is_black():
    picture = np.full((60, 60, 3), 255, np.uint8)
    aligned = align(FaceCrop(picture, (np.array(POINTS) - 20).astype(np.float32)), SQUARE)
    assert aligned[:15].max() == 0 and aligned[50, 50].min() == 255


@pytest.mark.parametrize(
    ("pixels", "landmarks"),
    [
        (np.zeros((10, 10), np.uint8), POINTS),
        (np.zeros((10, 10, 4), np.uint8), POINTS),
        (np.zeros((0, 10, 3), np.uint8), POINTS),
        (np.zeros((10, 10, 3), np.float32), POINTS),
        (np.zeros((10, 10, 3), np.uint8), POINTS[:4]),
        (np.zeros((10, 10, 3), np.uint8), ((5, 5),) * 5),
        (np.zeros((10, 10, 3), np.uint8), np.full((5, 2), np.nan)),
        (np.zeros((10, 10, 3), np.uint8), np.array(POINTS) * 1e9),
    ],
)
def test_crops_of_no_use_are_refused(pixels, landmarks):
    with pytest.raises(InvalidRequest):
        align(FaceCrop(pixels, np.asarray(landmarks, np.float32)), SQUARE)


@pytest.mark.parametrize("name", models.names())
def test_every_model_looks_at_the_middle_of_an_upright_face(name):
    alignment = models.find(name).alignment
    left_eye, right_eye, nose, mouth_left, mouth_right = np.array(alignment.points)
    assert left_eye[0] < nose[0] < right_eye[0] and mouth_left[0] < nose[0] < mouth_right[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert (np.array(alignment.points) > 0).all()
    assert (np.array(alignment.points) < (alignment.width, alignment.height)).all()
    assert abs(nose[0] / alignment.width - 0.5) < 0.05


def test_model_names_are_canonical_and_case_does_not_matter():
    assert models.find(" vgg-FACE ").name == "VGG-Face"
    assert models.find("dlib") is models.find("Dlib")
    assert len({name.lower() for name in models.names()}) == 13
    with pytest.raises(UnknownModel, match="ArcFace"):
        models.find("Facenet1024")
