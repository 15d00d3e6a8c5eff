"""services/detector/augmentation.py: plausible, many, and always the same."""

import cv2
import numpy as np
import pytest

from services.common.faces import FaceCrop
from services.detector.augmentation import augment, mirror

LANDMARKS = np.array([(80, 90), (145, 92), (112, 130), (85, 160), (140, 158)], np.float32)


@pytest.fixture
def crop() -> FaceCrop:
    """A smooth picture with a bright dot at each landmark."""
    random = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(random.integers(0, 160, (224, 224, 3), dtype=np.uint8), (0, 0), 6)
    for x, y in LANDMARKS:
        cv2.circle(pixels, (int(x), int(y)), 4, (255, 255, 255), -1)
    return FaceCrop(pixels, LANDMARKS)


def test_mirror_comes_first_and_keeps_left_left(crop):
    first = augment(crop, 1)[0]
    assert np.array_equal(first.pixels, crop.pixels[:, ::-1])
    left_eye, right_eye, _, mouth_left, mouth_right = first.landmarks
    assert left_eye[0] < right_eye[0] and mouth_left[0] < mouth_right[0]
    assert np.allclose(left_eye, (224 - 145, 92)) and np.allclose(mouth_right, (224 - 85, 160))


def test_mirror_twice_is_the_original(crop):
    twice = mirror(mirror(crop))
    assert np.array_equal(twice.pixels, crop.pixels) and np.allclose(twice.landmarks, crop.landmarks)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 24, 64])
def test_any_count(crop, count):
    versions = augment(crop, count)
    assert len(versions) == count
    assert len({version.pixels.tobytes() for version in versions} | {crop.pixels.tobytes()}) == count + 1
    for version in versions:
        assert version.pixels.shape == (224, 224, 3) and version.pixels.dtype == np.uint8
        assert version.landmarks.shape == (5, 2) and version.landmarks.dtype == np.float32
        assert version.pixels.flags["C_CONTIGUOUS"]


def test_the_same_crop_gives_the_same_versions(crop):
    copy = FaceCrop(crop.pixels.copy(), crop.landmarks.copy())
    for one, other in zip(augment(crop, 12), augment(copy, 20), strict=False):
        assert np.array_equal(one.pixels, other.pixels) and np.array_equal(one.landmarks, other.landmarks)
    others = augment(crop, 12, seed=1)
    assert not all(np.array_equal(a.pixels, b.pixels) for a, b in zip(augment(crop, 12), others, strict=True))


def test_another_crop_gets_other_changes(crop):
    other = FaceCrop(crop.pixels + np.uint8(1), crop.landmarks)
    ours, theirs = augment(crop, 2)[1], augment(other, 2)[1]
    assert not np.allclose(ours.landmarks, theirs.landmarks)


def test_landmarks_stay_on_their_dots(crop):
    for version in augment(crop, 64):
        gray = cv2.GaussianBlur(version.pixels, (0, 0), 2).max(axis=2)
        for x, y in version.landmarks:
            left, top = int(x) - 8, int(y) - 8
            patch = gray[top : top + 17, left : left + 17].astype(float)
            rows, columns = np.nonzero(patch > patch.max() - 20)
            assert abs(columns.mean() + left + 0.5 - x) < 2 and abs(rows.mean() + top + 0.5 - y) < 2


def test_versions_stay_plausible(crop):
    for version in augment(crop, 64):
        assert abs(float(version.pixels.mean()) - float(crop.pixels.mean())) < 60
        assert version.pixels.std() > crop.pixels.std() / 2


@pytest.mark.parametrize("shape", [(32, 32), (200, 64), (32, 1024)])
def test_any_shape(shape):
    small = FaceCrop(np.full((*shape, 3), 90, np.uint8), np.full((5, 2), 16, np.float32))
    assert all(version.pixels.shape[:2] == shape for version in augment(small, 8))
