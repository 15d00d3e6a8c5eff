"""Array functions of the face finder. Boxes are float64 (n, 4): left, top, right, bottom, in pixels.

Where a number looks arbitrary (a window of 11 pixels, a "+ 1", sampling up to size - 1), it is what the reference
implementation, mtcnn 1.0.0 on TensorFlow, does; tests/quality/test_detection.py holds the parity.
"""

import math

import cv2
import numpy as np

from services.detector.pyramid import STRIDE, WINDOW, Placement

#: Value outside of a picture: what the networks take as zero.
OUTSIDE = 127.5

#: OpenCV cannot sample from a picture with a side of SHRT_MAX or more.
MAX_SIDE = 32_000


def find_windows(
    maps: np.ndarray, places: list[Placement], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P-Net's windows that may be a face, moved by its regression.

    Args:
        maps: float32 (6, rows, columns): logits of no face and face, then the regression, fractions of the window.
        places: of the levels in the patchwork that P-Net saw.
        threshold: windows must be above it, 0 to 1.

    Returns:
        Boxes in the picture's pixels, their probabilities of a face (n,), and their levels (n,), row by row.
    """
    likely = maps[1] - maps[0] > math.log(threshold / (1 - threshold))
    indices = _place_map(places, likely.shape)
    rows, columns = np.nonzero(likely & (indices >= 0))
    there = maps[:, rows, columns]
    level, scale, x, y = np.array([(p.level, p.scale, p.x, p.y) for p in places]).T[:, indices[rows, columns]]
    left, top = columns * STRIDE - x, rows * STRIDE - y
    corners = np.array([left + 1, top + 1, left + WINDOW, top + WINDOW])
    boxes = (corners + there[2:].astype(np.float64) * (WINDOW - 1)) / scale
    return np.ascontiguousarray(boxes.T), _softmax(there[:2])[1].astype(np.float64), level


def _place_map(places: list[Placement], shape: tuple[int, int]) -> np.ndarray:
    """int8 (rows, columns), as P-Net's output: which of the places a window lies in as a whole, -1 where in none."""
    indices = np.full(shape, -1, np.int8)
    for index, place in enumerate(places):
        top, left = place.y // STRIDE, place.x // STRIDE
        rows, columns = (place.height - WINDOW) // STRIDE + 1, (place.width - WINDOW) // STRIDE + 1
        indices[top : top + rows, left : left + columns] = index
    return indices


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis, in the precision given."""
    powers: np.ndarray = np.exp(logits - logits.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers


def best_first(scores: np.ndarray) -> np.ndarray:
    """Indices in falling order. P-Net's scores have ties (1.0); parity needs them in just this order."""
    return np.argsort(scores)[::-1]


def not_suppressed(boxes: np.ndarray, threshold: float, by_smaller: bool = False) -> np.ndarray:
    """Indices of the boxes that no better one overlaps; boxes come best first.

    A box goes if ANY better box overlaps it, even one that goes itself: the reference does it so, and it is cheaper
    than the usual greedy suppression.

    Args:
        boxes: (n, 4).
        threshold: overlaps above it count.
        by_smaller: overlap is intersection over the smaller box's area, not over the union.
    """
    if len(boxes) < 2:
        return np.arange(len(boxes))
    kept = np.ones(len(boxes), bool)
    by_height = np.argsort(boxes[:, 1])
    for start in range(0, len(boxes), 256):  # neighbours together: each group is near to few others
        group = by_height[start : start + 256]
        top, bottom = boxes[group, 1].min(), boxes[group, 3].max()
        near = np.flatnonzero((boxes[:, 1] < bottom) & (boxes[:, 3] > top))
        overlapping = _overlap(boxes[group], boxes[near], threshold, by_smaller)
        kept[group] = ~(overlapping & (near < group[:, None])).any(axis=1)
    return np.flatnonzero(kept)


def _overlap(ours: np.ndarray, others: np.ndarray, threshold: float, by_smaller: bool) -> np.ndarray:
    """For each of ours and each of the others, whether they overlap by more than threshold: bool (n, m)."""
    width = np.minimum(ours[:, 2, None], others[:, 2]) - np.maximum(ours[:, 0, None], others[:, 0])
    height = np.minimum(ours[:, 3, None], others[:, 3]) - np.maximum(ours[:, 1, None], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    our_area, their_area = _areas(ours)[:, None], _areas(others)
    whole = np.minimum(our_area, their_area) if by_smaller else our_area + their_area - shared
    overlapping: np.ndarray = shared > threshold * whole
    return overlapping


def _areas(boxes: np.ndarray) -> np.ndarray:
    areas: np.ndarray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def square(boxes: np.ndarray) -> np.ndarray:
    """Each box made a square about its centre, as large as its longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return np.concatenate([corner, corner + side], axis=1)


def move(boxes: np.ndarray, regression: np.ndarray) -> np.ndarray:
    """Boxes moved by R-Net's or O-Net's regression, (n, 4) fractions of the box."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    moved: np.ndarray = boxes + regression * size[:, [0, 1, 0, 1]]
    return moved


def place_landmarks(boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """O-Net's (n, 10) fractions of the box, five x then five y, as (n, 5, 2) pixels."""
    points = landmarks.reshape(-1, 2, 5).transpose(0, 2, 1)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    placed: np.ndarray = points * size[:, None, :] + boxes[:, None, :2] - 1
    return placed


def cut_patches(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Cuts boxes out, each sampled bilinearly at side x side points, OUTSIDE where there is no picture.

    Args:
        image: (height, width, 3), uint8 or float32, sides up to MAX_SIDE.
        boxes: (n, 4).
        side: pixels of a patch.

    Returns:
        float32 (n, side, side, 3).
    """
    if not len(boxes):
        return np.empty((0, side, side, 3), np.float32)
    shape = (len(boxes), side, side)
    x, y = _sample_points(boxes, side, image.shape).transpose(1, 0, 2)
    map_x = np.broadcast_to(x[:, None, :], shape).reshape(-1, side)
    map_y = np.broadcast_to(y[:, :, None], shape).reshape(-1, side)
    patches = cv2.remap(
        image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=[OUTSIDE] * 3
    )
    return patches.reshape(*shape, 3).astype(np.float32)


def _sample_points(boxes: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Where to sample a picture of this shape for `side` points a box: float32 (n, 2, side), x and y, far outside it if
    outside.
    """
    size = np.array([[shape[1]], [shape[0]]])
    last = size - 1
    start, end = boxes[:, :2, None] / size * last, boxes[:, 2:, None] / size * last
    points: np.ndarray = start + (end - start) * (np.arange(side) / (side - 1))
    points[(points < 0) | (points > last)] = -9
    return points.astype(np.float32)
