"""services/detector/pyramid.py: levels at the right sizes, in the right places, with the right pixels."""

import cv2
import numpy as np
import pytest

from services.detector import pyramid


def test_pyramid_of_the_reference():
    scales = pyramid.pyramid_scales(640, 480, 20)
    assert scales[0] == 0.6 and np.allclose(np.divide(scales[1:], scales[:-1]), 0.709)
    assert 480 * scales[-1] >= 12 and len(scales) == 10


@pytest.mark.parametrize("size", [(1, 1), (11, 500), (500, 11), (1, 10_000)])
def test_pyramid_of_tiny_pictures_is_empty(size):
    assert pyramid.pyramid_scales(*size, 20) == []


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (641, 479), (100, 2000), (40, 40)])
def test_packed_levels_keep_apart_and_lie_even(width, height):
    image = np.full((height, width, 3), 200, np.uint8)
    scales = pyramid.pyramid_scales(width, height, 30)
    (patchwork,) = pyramid.packed_levels(image, scales)
    owned = np.zeros(patchwork.pixels.shape[:2], int)
    for level, (place, scale) in enumerate(zip(patchwork.places, scales, strict=True)):
        assert place.x % 2 == 0 and place.y % 2 == 0
        assert (place.level, place.width, place.height) == (level, int(width * scale), int(height * scale))
        owned[place.y : place.y + place.height, place.x : place.x + place.width] += 1
    assert owned.max() == 1 and owned.mean() > 0.8
    assert np.allclose(patchwork.pixels[..., 0], 200 * owned, atol=1e-3)


@pytest.mark.parametrize("levels", [pyramid.packed_levels, pyramid.separate_levels])
def test_no_levels_are_no_patchwork(levels):
    assert list(levels(np.zeros((5, 5, 3), np.uint8), [])) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("given", "size"),
    [
        ((301, 203), (301, 203)),
        ((301, 203), (300, 202)),
        ((301, 203), (181, 122)),
        ((301, 203), (90, 70)),
        ((301, 203), (19, 12)),
        ((301, 203), (301, 12)),
        ((301, 203), (19, 203)),
        ((9001, 40), (1000, 12)),  # so wide that rows are made in several pieces
    ],
)
def test_areas_are_averaged_as_opencv_does_it(given, size, dtype):
    image = np.random.default_rng(1).integers(0, 256, (*given[::-1], 3)).astype(dtype)
    expected = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    assert np.allclose(pyramid.average(image, size), expected, atol=1e-3)


def test_shrinking_keeps_the_mean():
    image = np.random.default_rng(4).integers(0, 256, (900, 1301, 3), dtype=np.uint8)
    small = pyramid.shrink(image, pyramid.fitted(image, 320))
    assert small.shape == (221, 320, 3)
    assert abs(float(small.mean()) - float(image.mean())) < 1
    assert pyramid.shrink(image, pyramid.fitted(image, 2000)) is image


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9000, 3), (9000, 1, 3), (3, 5000, 3)])
def test_strips_can_be_shrunk(shape):
    image = np.zeros(shape, np.uint8)
    assert max(pyramid.shrink(image, pyramid.fitted(image, 640)).shape) <= 640
