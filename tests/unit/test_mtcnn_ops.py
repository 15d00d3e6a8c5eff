"""services/detector/ops.py against slow and plain versions of the same, and the search's options."""

import numpy as np
import pytest

from services.common.errors import InvalidRequest
from services.detector import ops
from services.detector.mtcnn import DetectOptions, Mode


def some_boxes(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + random.uniform(5, 60, (count, 2))], axis=1)


def overlap(a: np.ndarray, b: np.ndarray, by_smaller: bool) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (min(areas) if by_smaller else sum(areas) - shared)


@pytest.mark.parametrize("by_smaller", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 50, 700])
def test_suppression_is_by_any_better_box(by_smaller, count):
    boxes = some_boxes(count)
    expected = [i for i in range(count) if not any(overlap(boxes[i], boxes[j], by_smaller) > 0.5 for j in range(i))]
    assert ops.not_suppressed(boxes, 0.5, by_smaller).tolist() == expected


def test_pyramid_of_the_reference():
    scales = ops.pyramid_scales(640, 480, 20)
    assert scales[0] == 0.6 and np.allclose(np.divide(scales[1:], scales[:-1]), 0.709)
    assert 480 * scales[-1] >= 12 and len(scales) == 10


@pytest.mark.parametrize("size", [(1, 1), (11, 500), (500, 11), (1, 10_000)])
def test_pyramid_of_tiny_pictures_is_empty(size):
    assert ops.pyramid_scales(*size, 20) == []


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (641, 479), (100, 2000), (40, 40)])
def test_canvas_levels_keep_apart_and_lie_even(width, height):
    image = np.full((height, width, 3), 200, np.uint8)
    scales = ops.pyramid_scales(width, height, 30)
    canvas, placements = ops.paint_canvas(image, scales)
    owned = np.zeros(canvas.shape[:2], int)
    for place, scale in zip(placements, scales, strict=True):
        assert place.x % 2 == 0 and place.y % 2 == 0
        assert (place.width, place.height) == (int(width * scale), int(height * scale))
        owned[place.y : place.y + place.height, place.x : place.x + place.width] += 1
    assert owned.max() == 1
    assert np.array_equal(owned == 1, canvas[..., 0] == 200) and (canvas[owned == 0] == ops.OUTSIDE).all()


def test_cut_level_takes_the_windows_wholly_inside():
    place = ops.Placement(0.5, 10, 20, 31, 12)
    maps = np.arange(2 * 40 * 40).reshape(2, 40, 40)
    level = ops.cut_level(maps, place)
    assert level.shape == (2, 1, 10) and level[0, 0, 0] == maps[0, 10, 5]


def test_windows_above_the_threshold_become_boxes():
    logits, regression = np.zeros((2, 3, 4), np.float32), np.zeros((4, 3, 4), np.float32)
    logits[1, 2, 3] = 3
    regression[:, 2, 3] = (0.1, 0.2, -0.1, 0)
    boxes, scores = ops.window_boxes(logits, regression, 0.6)
    assert np.allclose(boxes, [[7 + 1.1, 5 + 2.2, 18 - 1.1, 16]])
    assert np.allclose(scores, [1 / (1 + np.exp(-3))])


def test_square_and_move_and_landmarks():
    boxes = np.array([[10.0, 20.0, 30.0, 60.0]])
    assert np.allclose(ops.square(boxes), [[0, 20, 40, 60]])
    assert np.allclose(ops.move(boxes, np.array([[0.1, 0, 0, -0.1]])), [[12.1, 20, 30, 55.9]])
    points = ops.place_landmarks(boxes, np.full((1, 10), 0.5))
    assert points.shape == (1, 5, 2) and np.allclose(points[0], [19.5, 39.5])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_patches_are_sampled_like_tensorflows_crop_and_resize(dtype):
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (50, 70, 3)).astype(dtype)
    boxes = np.array([[5.3, 7.1, 40.2, 42.0], [-10.0, 30.0, 20.0, 60.0]])
    patches = ops.cut_patches(image, boxes, 8)
    for box, patch in zip(boxes, patches, strict=True):
        for row in range(8):
            for column in range(8):
                x, y = (
                    box[i] / n * (n - 1) + step * (box[i + 2] - box[i]) / n * (n - 1) / 7
                    for i, n, step in ((0, 70, column), (1, 50, row))
                )
                inside = 0 <= x <= 69 and 0 <= y <= 49
                expected = bilinear(image, x, y) if inside else ops.OUTSIDE
                assert np.allclose(patch[row, column], expected, atol=0.51 if dtype == np.uint8 else 1e-3)
    assert ops.cut_patches(image, np.empty((0, 4)), 8).shape == (0, 8, 8, 3)


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    left, top = min(int(x), image.shape[1] - 2), min(int(y), image.shape[0] - 2)
    right, down = x - left, y - top
    block = image[top : top + 2, left : left + 2].astype(float)
    return (block[0, 0] * (1 - right) + block[0, 1] * right) * (1 - down) + (
        block[1, 0] * (1 - right) + block[1, 1] * right
    ) * down


def test_shrinking_keeps_the_mean_and_says_the_factors():
    image = np.random.default_rng(4).integers(0, 256, (900, 1301, 3), dtype=np.uint8)
    small, x_factor, y_factor = ops.shrink(image, 320)
    assert max(small.shape) == 320 and np.isclose(x_factor, 1301 / 320) and np.isclose(y_factor, 900 / small.shape[0])
    assert abs(float(small.mean()) - float(image.mean())) < 1
    same, *factors = ops.shrink(image, 2000)
    assert same is image and factors == [1, 1]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9000, 3), (9000, 1, 3), (3, 5000, 3)])
def test_strips_can_be_shrunk(shape):
    assert max(ops.shrink(np.zeros(shape, np.uint8), 640)[0].shape) <= 640 or max(shape) <= 640


@pytest.mark.parametrize(
    "wrong", [{"min_face_px": 11}, {"max_side_px": 5000}, {"max_side_px": -1}, {"min_confidence": 1.1}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        DetectOptions(**wrong)


def test_faithful_does_not_shrink_unless_told():
    assert DetectOptions(Mode.FAITHFUL).search_side_px > 30_000
    assert DetectOptions(Mode.FAITHFUL, max_side_px=500).search_side_px == 500
    assert DetectOptions().search_side_px == 640
