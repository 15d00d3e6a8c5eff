"""services/detector/cropping.py: where the crop's pixels come from."""

import cv2
import numpy as np
import pytest

from services.common.faces import Box, Face
from services.common.geometry import CHIP_LANDMARKS
from services.detector import cropping
from tests.unit.detector.faces import face_at

#: ArcFace's 112 x 112 template (insightface).
ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])


def gradient(width: int, height: int) -> np.ndarray:
    """A picture whose blue is x and green y, in 256ths of the size."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.dstack([x / width * 255, y / height * 255, np.zeros_like(x)]).round().astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 20, -35, 180])
@pytest.mark.parametrize("size", [60, 200, 900])
def test_landmarks_come_to_the_same_place(size, degrees):
    crop = cropping.cut_face(gradient(1200, 1000), face_at((600, 500), size, degrees), 224, 224)
    upright = cropping.cut_face(gradient(1200, 1000), face_at((600, 500), 150), 224, 224)
    assert crop.pixels.shape == (224, 224, 3) and crop.pixels.dtype == np.uint8
    assert np.allclose(crop.landmarks, upright.landmarks, atol=0.01)


@pytest.mark.parametrize("size", [60, 150, 400, 900])
def test_pixels_are_those_under_the_landmarks(size):
    face = face_at((640, 520), size, 15)
    crop = cropping.cut_face(gradient(1200, 1000), face, 224, 224)
    for (x, y), (cx, cy) in zip(face.landmarks, crop.landmarks, strict=True):
        blue, green, _ = cv2.getRectSubPix(crop.pixels, (1, 1), (float(cx) - 0.5, float(cy) - 0.5))[0, 0]
        assert abs(blue - x / 1200 * 255) < 1.5 and abs(green - y / 1000 * 255) < 1.5


@pytest.mark.parametrize(("width", "height"), [(224, 224), (112, 112), (160, 200), (300, 180), (32, 1024)])
def test_every_models_own_alignment_lies_inside(width, height):
    crop = cropping.cut_face(gradient(1200, 1000), face_at((600, 500), 300), width, height)
    zoom = min(width, height) / cropping.SHOWN
    size = np.ptp(crop.landmarks, axis=0)
    assert np.allclose(size / np.ptp(np.array(CHIP_LANDMARKS), axis=0), zoom, rtol=1e-3), "distorted"
    for corner in window_corners(crop.landmarks, np.array(CHIP_LANDMARKS), 150):
        assert (corner >= 0).all() and (corner <= (width, height)).all()
    for corner in window_corners(crop.landmarks, ARCFACE, 112):
        assert (corner >= 0).all() and (corner <= (width, height)).all()


def window_corners(landmarks: np.ndarray, template: np.ndarray, side: int) -> np.ndarray:
    """Where the corners of a model's aligned square lie in the crop."""
    inverse, _ = cv2.estimateAffinePartial2D(template.astype(np.float32), landmarks)
    return np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ inverse.T


def test_a_224_crop_holds_the_chip_at_no_less_than_its_own_resolution():
    crop = cropping.cut_face(gradient(1200, 1000), face_at((600, 500), 600), 224, 224)
    corners = window_corners(crop.landmarks, np.array(CHIP_LANDMARKS), 150)
    assert np.ptp(corners[:, 0]) >= 165


def test_a_large_face_is_averaged_not_point_sampled():
    """Stripes finer than a crop pixel must become grey, whatever their phase."""
    stripes = np.zeros((3000, 3000, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cropping.cut_face(stripes, face_at((1500, 1500), 1800), 224, 224)
    inner = crop.pixels[40:200, 20:200]
    assert abs(float(inner.mean()) - 127.5) < 2 and inner.std() < 8


@pytest.mark.parametrize("centre", [(0, 0), (1199, 500), (600, 5000), (-3000, -3000)])
def test_outside_of_the_photo_is_black(centre):
    crop = cropping.cut_face(np.full((1000, 1200, 3), 255, np.uint8), face_at(centre, 300), 96, 96)
    assert crop.pixels.shape == (96, 96, 3)
    assert any((crop.pixels[y, x] == 0).all() for y in (0, -1) for x in (0, -1))


@pytest.mark.parametrize("size", [0.01, 1, 5, 40_000])
def test_absurd_faces_do_no_harm(size):
    assert cropping.cut_face(gradient(300, 200), face_at((150, 100), size), 64, 64).pixels.shape == (64, 64, 3)


def test_landmarks_in_one_point_leave_the_framing_to_the_box():
    face = Face(Box(100, 80, 60, 80), np.full((5, 2), 120, np.float32), 0.9)
    crop = cropping.cut_face(gradient(300, 200), face, 64, 64)
    middle = crop.pixels[32, 32].astype(float)
    assert abs(middle[0] - 130 / 300 * 255) < 3 and abs(middle[1] - 120 / 200 * 255) < 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (40_000, 3)])
def test_strips(shape):
    crop = cropping.cut_face(np.zeros((*shape, 3), np.uint8), face_at((5, 5), 80), 64, 64)
    assert crop.pixels.shape == (64, 64, 3)
