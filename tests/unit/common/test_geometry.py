"""services/common/geometry.py: the best similarity, and what can be done with one."""

import cv2
import numpy as np
import pytest

from services.common.geometry import CHIP_LANDMARKS, Similarity, between_pixel_centres

POINTS = np.array([(30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0)])


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ rotation.T + shift


def umeyama(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The matrix as in Umeyama 1991, equations 40 to 43, by singular values."""
    share = (weights / weights.sum())[:, None]
    source_mean, target_mean = (share * source).sum(axis=0), (share * target).sum(axis=0)
    centred = source - source_mean
    left, singular, right = np.linalg.svd((share * (target - target_mean)).T @ centred)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = singular @ signs / (share * centred**2).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (25, 0.6), (-170, 3.0), (90, 1e-2)])
def test_the_transform_is_found_again(degrees: float, scale: float) -> None:
    target = turned(POINTS, degrees, scale, (5, -7))
    found = Similarity.fit(POINTS, target)
    np.testing.assert_allclose(found.apply(POINTS), target, atol=1e-9)
    np.testing.assert_allclose(found.scale, scale)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1, 1), (1, 1, 1, 0.5, 0.5), (0, 1, 2, 3, 0)])
def test_the_fit_is_umeyamas_to_a_millionth_of_a_pixel(weights: tuple[float, ...]) -> None:
    random = np.random.default_rng(3)
    corners = np.array([(0, 0), (4000, 0), (0, 3000), (4000, 3000)])
    for _ in range(100):
        source = random.uniform(0, 3000, 2) + random.uniform(20, 900) * random.normal(size=(5, 2))
        target = turned(np.array(CHIP_LANDMARKS), *random.uniform((-180, 0.1), (180, 3)), (9, 4))
        target += random.normal(scale=5, size=(5, 2))
        matrix = umeyama(source, target, np.array(weights))
        expected = corners @ matrix[:, :2].T + matrix[:, 2]
        np.testing.assert_allclose(Similarity.fit(source, target, weights).apply(corners), expected, rtol=0, atol=1e-6)


def test_points_of_no_weight_do_not_count() -> None:
    target = turned(POINTS, 12, 1.5, (3, 4))
    moved = target + [[0, 0], [0, 0], [0, 0], [5, 30], [-5, 30]]
    np.testing.assert_allclose(Similarity.fit(POINTS, moved, (1, 1, 1, 0, 0)).apply(POINTS), target, atol=1e-9)


def test_a_mirror_image_is_not_mirrored_back() -> None:
    assert np.linalg.det(Similarity.fit(POINTS, POINTS * (-1, 1)).matrix()[:, :2]) > 0


def test_points_that_are_one_point_still_give_a_way_back() -> None:
    fit = Similarity.fit(np.full((5, 2), 7.0), POINTS)
    np.testing.assert_allclose(fit.apply(np.array([7.0, 7.0])), POINTS.mean(axis=0))
    np.testing.assert_allclose(fit.inverse().apply(POINTS.mean(axis=0)), (7, 7))


def test_matrix_and_inverse_do_the_same_as_apply() -> None:
    mapping = Similarity(complex(1.2, -0.7), complex(30, 4))
    moved = mapping.apply(POINTS)
    matrix = mapping.matrix()
    np.testing.assert_allclose(POINTS @ matrix[:, :2].T + matrix[:, 2], moved)
    np.testing.assert_allclose(mapping.inverse().apply(moved), POINTS)


def test_opencv_takes_a_whole_enlargement_from_the_corner() -> None:
    """Twice as large about the corner: every pixel becomes four, whose edges lie where twice its own were."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8)
    matrix = between_pixel_centres(Similarity(2 + 0j, 0j).matrix())
    enlarged = cv2.warpAffine(picture, matrix, (16, 12), flags=cv2.INTER_NEAREST)
    assert np.array_equal(enlarged, picture.repeat(2, axis=0).repeat(2, axis=1))
