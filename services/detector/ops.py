"""Array functions of the face finder. Boxes are float64 (n, 4): left, top, right, bottom, in pixels.

Where a number looks arbitrary (a window of 11 pixels, a "+ 1", sampling up to size - 1), it is what the reference
implementation, mtcnn 1.0.0 on TensorFlow, does; tests/quality/test_detection.py holds the parity.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from services.common.images import halve

#: P-Net looks at windows of this many pixels, every STRIDE pixels.
WINDOW = 12
STRIDE = 2
SCALE_STEP = 0.709

#: Value outside of a picture: what the networks take as zero.
OUTSIDE = 127.5

#: OpenCV cannot sample from a picture with a side of SHRT_MAX or more.
MAX_SIDE = 32_000


@dataclass(frozen=True)
class Placement:
    """Where on the canvas a pyramid level lies."""

    scale: float  # level pixels per picture pixel
    x: int
    y: int
    width: int
    height: int


def pyramid_scales(width: int, height: int, min_face_px: int) -> list[float]:
    """Scales at which a face of at least min_face_px is WINDOW pixels wide, largest first, none too small to search."""
    smaller = min(width, height)
    if smaller < WINDOW:
        return []
    count = round(-(math.log(smaller / WINDOW) / math.log(SCALE_STEP) + 1))
    scales = [WINDOW / min_face_px * SCALE_STEP**k for k in range(count)]
    return [scale for scale in scales if int(smaller * scale) >= WINDOW]


def shrink(image: np.ndarray, max_side: int) -> tuple[np.ndarray, float, float]:
    """Shrinks a picture to max_side pixels at its longer side; smaller ones stay as they are.

    Halves it by averaging, and samples the rest of the way, less than another half, bilinearly: OpenCV takes ten times
    as long to average areas that are no whole pixels.

    Returns:
        The picture, and what to multiply its x and y with to come back to the given one's.
    """
    height, width = image.shape[:2]
    if max(width, height) <= max_side:
        return image, 1.0, 1.0
    ratio = max_side / max(width, height)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    small = cv2.resize(halve_towards(image, size), size, interpolation=cv2.INTER_LINEAR)
    return small, width / size[0], height / size[1]


def halve_towards(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture halved as often as it stays (width, height) or larger: the cheapest way to average areas."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1] and min(image.shape[:2]) > 1:
        image = halve(image)
    return image


def level_size(image: np.ndarray, scale: float) -> tuple[int, int]:
    """(width, height) of a pyramid level."""
    return int(image.shape[1] * scale), int(image.shape[0] * scale)


def resize_level(image: np.ndarray, scale: float) -> np.ndarray:
    """One pyramid level, (height, width, 3), areas averaged, dtype kept."""
    return cv2.resize(image, level_size(image, scale), interpolation=cv2.INTER_AREA)


def pack(sizes: list[tuple[float, int, int]]) -> list[Placement]:
    """Lays (scale, width, height) rectangles, largest first, on shelves as wide as the first one, at even positions."""
    shelves: list[list[int]] = []  # [top, room taken, height]
    placements = []
    canvas_width = _even(sizes[0][1]) if sizes else 0
    for scale, width, height in sizes:
        shelf = next((s for s in shelves if s[1] + width <= canvas_width and height <= s[2]), None)
        if shelf is None:
            shelf = [sum(s[2] for s in shelves), 0, _even(height)]
            shelves.append(shelf)
        placements.append(Placement(scale, shelf[1], shelf[0], width, height))
        shelf[1] += _even(width)
    return placements


def _even(n: int) -> int:
    return n + n % 2


def paint_canvas(image: np.ndarray, scales: list[float]) -> tuple[np.ndarray, list[Placement]]:
    """All pyramid levels on one picture.

    Returns:
        float32 (height, width, 3) in the picture's channel order, and where each level is on it.
    """
    placements = pack([(scale, *level_size(image, scale)) for scale in scales])
    width = max((p.x + p.width for p in placements), default=0)
    height = max((p.y + p.height for p in placements), default=0)
    canvas = np.full((height, width, 3), OUTSIDE, np.float32)
    for place in placements:
        size = place.width, place.height
        image = halve_towards(image, size)
        level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        canvas[place.y : place.y + place.height, place.x : place.x + place.width] = level
    return canvas, placements


def cut_level(maps: np.ndarray, place: Placement) -> np.ndarray:
    """The part of P-Net's output (channels, rows, columns) whose windows lie wholly within a level of the canvas."""
    rows, columns = (place.height - WINDOW) // STRIDE + 1, (place.width - WINDOW) // STRIDE + 1
    top, left = place.y // STRIDE, place.x // STRIDE
    return maps[:, top : top + rows, left : left + columns]


def window_boxes(logits: np.ndarray, regression: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """P-Net's windows that may be a face, moved by its regression.

    Args:
        logits: float32 (2, rows, columns), of no face and face.
        regression: float32 (4, rows, columns), fractions of the window.
        threshold: windows must be above it, 0 to 1.

    Returns:
        Boxes in the level's pixels, and their probabilities of a face (n,), row by row.
    """
    rows, columns = np.where(logits[1] - logits[0] > math.log(threshold / (1 - threshold)))
    corner = np.stack([columns, rows, columns, rows], axis=1) * STRIDE + np.array([1, 1, WINDOW, WINDOW])
    boxes = corner + regression[:, rows, columns].T.astype(np.float64) * (WINDOW - 1)
    return boxes, _softmax(logits[:, rows, columns])[1].astype(np.float64)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis, in the precision given."""
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def sort_by_score(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores, best first. P-Net's scores have ties (1.0); parity needs them in just this order."""
    order = np.argsort(scores)[::-1]
    return boxes[order], scores[order]


def not_suppressed(boxes: np.ndarray, threshold: float, by_smaller: bool = False) -> np.ndarray:
    """Indices of the boxes that no better one overlaps; boxes come best first.

    A box goes if ANY better box overlaps it, even one that goes itself: the reference does it so, and it is cheaper
    than the usual greedy suppression.

    Args:
        boxes: (n, 4).
        threshold: overlaps above it count.
        by_smaller: overlap is intersection over the smaller box's area, not over the union.
    """
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
    shared = width.clip(0, None) * height.clip(0, None)
    our_area, their_area = _areas(ours)[:, None], _areas(others)
    whole = np.minimum(our_area, their_area) if by_smaller else our_area + their_area - shared
    return shared > threshold * whole


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def square(boxes: np.ndarray) -> np.ndarray:
    """Each box made a square about its centre, as large as its longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return np.concatenate([corner, corner + side], axis=1)


def move(boxes: np.ndarray, regression: np.ndarray) -> np.ndarray:
    """Boxes moved by R-Net's or O-Net's regression, (n, 4) fractions of the box."""
    return boxes + regression * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def place_landmarks(boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """O-Net's (n, 10) fractions of the box, five x then five y, as (n, 5, 2) pixels."""
    points = np.stack([landmarks[:, :5], landmarks[:, 5:]], axis=2)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return points * size[:, None, :] + boxes[:, None, :2] - 1


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
    height, width = image.shape[:2]
    grid = np.linspace(0, 1, side)
    x = _sample_points(boxes[:, 0::2], grid, width)
    y = _sample_points(boxes[:, 1::2], grid, height)
    shape = (len(boxes), side, side)
    map_x = np.broadcast_to(x[:, None, :], shape).reshape(-1, side)
    map_y = np.broadcast_to(y[:, :, None], shape).reshape(-1, side)
    outside = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": [OUTSIDE] * 3}
    patches = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, **outside)
    return patches.reshape(*shape, 3).astype(np.float32)


def _sample_points(ends: np.ndarray, grid: np.ndarray, size: int) -> np.ndarray:
    """Where along one axis to sample between ends (n, 2): float32 (n, len(grid)), far outside if outside."""
    last = size - 1
    start, end = ends[:, :1] / size * last, ends[:, 1:] / size * last
    points = start + (end - start) * grid
    return np.where((points < 0) | (points > last), -9, points).astype(np.float32)
