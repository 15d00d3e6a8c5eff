"""services/detector/ops.py against slow and plain versions of the same, and the search's bounds and options."""

import numpy as np
import pytest

from services.common.errors import InvalidRequest
from services.detector import ops, pyramid
from services.detector.mtcnn import Bounds, DetectOptions, Mode, Mtcnn


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
@pytest.mark.parametrize("count", [0, 1, 2, 50, 400])
def test_suppression_is_by_any_better_box(by_smaller, count):
    boxes = some_boxes(count)
    expected = [i for i in range(count) if not any(overlap(boxes[i], boxes[j], by_smaller) > 0.5 for j in range(i))]
    assert ops.not_suppressed(boxes, 0.5, by_smaller).tolist() == expected


def some_maps(rows: int, columns: int, likely: list[tuple[int, int]]) -> np.ndarray:
    """P-Net's output with a face's logit of 3 at some places and a regression of 0.1, 0.2, -0.1, 0 everywhere."""
    maps = np.zeros((6, rows, columns), np.float32)
    for row, column in likely:
        maps[1, row, column] = 3
    maps[2:] = np.reshape([0.1, 0.2, -0.1, 0], (4, 1, 1))
    return maps


def test_windows_above_the_threshold_become_boxes():
    maps = some_maps(3, 4, [(2, 3)])
    boxes, scores, levels = ops.find_windows(maps, [pyramid.Placement(7, 0.5, 0, 0, 18, 16)], 0.6)
    assert np.allclose(boxes, [[2 * (7 + 1.1), 2 * (5 + 2.2), 2 * (18 - 1.1), 2 * 16]])
    assert np.allclose(scores, [1 / (1 + np.exp(-3))]) and levels.tolist() == [7]


def test_windows_belong_to_the_level_that_they_lie_wholly_within():
    places = [pyramid.Placement(0, 0.5, 0, 0, 20, 14), pyramid.Placement(1, 0.25, 10, 20, 31, 12)]
    likely = [(0, 4), (0, 5), (1, 4), (2, 4), (10, 4), (10, 5), (10, 14), (10, 15), (11, 5)]  # row, column
    boxes, _, levels = ops.find_windows(some_maps(20, 20, likely), places, 0.6)
    assert levels.tolist() == [0, 0, 1, 1]  # (0, 4), (1, 4), (10, 5) and (10, 14)
    moved = np.array([1.1, 2.2, -1.1, 0])
    corners = np.array([[9, 1, 20, 12], [9, 3, 20, 14], [1, 1, 12, 12], [19, 1, 30, 12]])
    assert np.allclose(boxes, (corners + moved) / np.array([[0.5], [0.5], [0.25], [0.25]]))


class FakePnet:
    """Gives these maps, level by level, and maps without a window when they are used up."""

    def __init__(self, *maps: np.ndarray):
        self._maps = list(maps)

    def run(self, outputs, feeds):
        return [(self._maps.pop(0) if self._maps else some_maps(1, 1, []))[None]]


class FakeClassifier:
    """R-Net or O-Net: takes every window for a face that is where it should be, or none; keeps what it is shown."""

    def __init__(self, is_face: bool):
        self.seen: list[np.ndarray] = []
        self._probability = float(is_face)

    def run(self, outputs, feeds):
        count = len(feeds["image"])
        self.seen.extend(feeds["image"])
        answers = {
            "regression": np.zeros((count, 4), np.float32),
            "landmarks": np.zeros((count, 10), np.float32),
            "probability": np.full((count, 2), self._probability, np.float32),
        }
        return [answers[name] for name in outputs]


EVERY_LEVEL = DetectOptions(Mode.FAITHFUL, min_face_px=12)


def test_a_window_gives_way_to_better_ones_of_its_level_alone():
    first, second = some_maps(13, 13, [(1, 1), (1, 2)]), some_maps(8, 8, [(0, 0)])
    first[2:], second[2:] = 0, 0
    first[1, 1, 2] = 2  # (3, 3) to (14, 14), and this less likely one two pixels further: they overlap by 0.69
    # The second level's, (1.4, 1.4) to (16.9, 16.9), overlaps with the better one by 0.503.
    rnet, onet = FakeClassifier(True), FakeClassifier(False)
    Mtcnn(FakePnet(first, second), rnet, onet).detect(np.zeros((36, 36, 3), np.uint8), EVERY_LEVEL)
    assert len(rnet.seen) == len(onet.seen) == 2


def test_the_best_windows_go_on_and_their_number_is_bounded():
    apart = [(row, column) for row in range(0, 45, 6) for column in range(0, 45, 6)]
    maps = some_maps(45, 45, apart)
    maps[2:] = 0
    maps[1, :, 18:] /= 2  # those of the right half are less likely, and the picture is black there
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:, :49] = 255
    rnet, onet = FakeClassifier(True), FakeClassifier(False)
    Mtcnn(FakePnet(maps), rnet, onet, Bounds(windows=10, faces=4)).detect(picture, EVERY_LEVEL)
    assert len(rnet.seen) == 10 < len(apart) and len(onet.seen) == 4
    assert np.mean(rnet.seen) > 200


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
