"""The sizes at which the face finder searches a picture: each level alone, or all in one picture, a "patchwork"
(C. Dubout and F. Fleuret, "Exact acceleration of linear object detectors", ECCV 2012).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from services.images.decode import halve

#: P-Net judges windows of this many pixels, every STRIDE pixels.
WINDOW = 12
STRIDE = 2
SCALE_STEP = 0.709

#: Rows that `average` makes in one product of matrices, and in one call of OpenCV.
BLOCK_ROWS, BAND = 4, 64
#: Multiplications of a product that OpenBLAS leaves to the thread that asks for it.
SMALL_PRODUCT = 1 << 18


@dataclass(frozen=True)
class Placement:
    """Where in a patchwork a pyramid level lies."""

    level: int  # the largest is 0
    scale: float  # level pixels per picture pixel
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Patchwork:
    """Pyramid levels in one picture, for one call of P-Net.

    Attributes:
        pixels: float32 (height, width, 3) in the channel order of the picture that they are levels of.
        places: where they are; x and y are even.
    """

    pixels: np.ndarray
    places: list[Placement]


def pyramid_scales(width: int, height: int, min_face_px: int) -> list[float]:
    """Scales at which a face of at least min_face_px is WINDOW pixels wide, largest first, none too small to search."""
    smaller = min(width, height)
    if smaller < WINDOW:
        return []
    count = round(-(math.log(smaller / WINDOW) / math.log(SCALE_STEP) + 1))
    scales = [WINDOW / min_face_px * SCALE_STEP**k for k in range(count)]
    return [scale for scale in scales if int(smaller * scale) >= WINDOW]


def fitted(image: np.ndarray, max_side: int) -> tuple[int, int]:
    """(width, height) of a picture shrunk to max_side pixels at its longer side; a smaller one stays as it is."""
    height, width = image.shape[:2]
    ratio = min(1.0, max_side / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrinks a picture to (width, height).

    Halves it by averaging, and samples the rest of the way, less than another half, bilinearly: OpenCV takes ten times
    as long to average areas that are no whole pixels.
    """
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(halve_towards(image, size), size, interpolation=cv2.INTER_LINEAR)


def halve_towards(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture halved as often as it stays (width, height) or larger: the cheapest way to average areas."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1] and min(image.shape[:2]) > 1:
        image = halve(image)
    return image


def level_sizes(image: np.ndarray, scales: list[float]) -> list[tuple[int, int]]:
    """(width, height) of each pyramid level of a picture."""
    height, width = image.shape[:2]
    return [(int(width * scale), int(height * scale)) for scale in scales]


def pack(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where (width, height) rectangles, largest first, fit beside each other in one as wide as the first: even (x, y)."""
    free = [(0, 0, _even(sizes[0][0]), sum(_even(height) for _, height in sizes))]  # x, y, width, height
    corners = []
    for width, height in sizes:
        index = next(i for i, (_, _, across, down) in enumerate(free) if width <= across and height <= down)
        x, y, across, down = free[index]
        right, bottom = _even(width), _even(height)
        free[index : index + 1] = (x + right, y, across - right, bottom), (x, y + bottom, across, down - bottom)
        corners.append((x, y))
    return corners


def _even(n: int) -> int:
    return n + n % 2


def separate_levels(image: np.ndarray, scales: list[float]) -> Iterator[Patchwork]:
    """Each level alone, as the reference has it."""
    for level, (scale, (width, height)) in enumerate(zip(scales, level_sizes(image, scales), strict=True)):
        # Pooling pads: where a side is odd the last windows reach a pixel beyond it.
        place = Placement(level, scale, 0, 0, _even(width), _even(height))
        yield Patchwork(average(image, (width, height)), [place])


def average(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at (width, height), no larger than it is, areas averaged, as float32.

    What OpenCV's INTER_AREA gives, which first makes all rows narrower, number by number: here rows are averaged first,
    as products of matrices, and it is left with the few that remain. That takes a third less time.
    """
    width, height = size
    rows = image.reshape(len(image), -1)
    blocks = _row_blocks(len(image), height)
    result = np.empty((height, width, 3), np.float32)
    band = np.empty((BAND, *image.shape[1:]), np.float32)
    for top in range(0, height, BAND):
        for at, (needed, shares) in zip(range(0, BAND, BLOCK_ROWS), blocks, strict=False):
            _multiply(shares, rows[needed], band[at : at + BLOCK_ROWS].reshape(BLOCK_ROWS, -1))
        part = result[top : top + BAND]
        cv2.resize(band[: len(part)], (width, len(part)), part, interpolation=cv2.INTER_AREA)
    return result


def _row_blocks(count: int, wanted: int) -> Iterator[tuple[slice, np.ndarray]]:
    """How `count` rows are averaged to `wanted`: for every BLOCK_ROWS of these (more, of zeros, at the end), which rows
    they need, and their shares, float32 (BLOCK_ROWS, rows needed).
    """
    step = count / wanted
    starts = (np.arange(-(-wanted // BLOCK_ROWS) * BLOCK_ROWS) * step).reshape(-1, BLOCK_ROWS, 1)
    needed = min(math.ceil(BLOCK_ROWS * step) + 1, count)
    firsts = np.minimum(starts[:, 0, 0].astype(int), count - needed)
    rows = firsts[:, None, None] + np.arange(needed)
    shares = ((np.minimum(starts + step, rows + 1) - np.maximum(starts, rows)).clip(0) / step).astype(np.float32)
    return zip((slice(first, first + needed) for first in firsts), shares, strict=True)


def _multiply(left: np.ndarray, right: np.ndarray, product: np.ndarray) -> None:
    """Product of matrices, in pieces so small that OpenBLAS does not split them among threads."""
    columns = SMALL_PRODUCT // left.size
    for at in range(0, right.shape[1], columns):
        np.matmul(left, right[:, at : at + columns], product[:, at : at + columns])


def packed_levels(image: np.ndarray, scales: list[float]) -> Iterator[Patchwork]:
    """One patchwork of all levels, if there are any.

    Args:
        image: uint8 (height, width, 3).
        scales: of the levels, largest first.
    """
    if not scales:
        return
    sizes = level_sizes(image, scales)
    corners = pack(sizes)
    places = [Placement(level, scale, *corners[level], *sizes[level]) for level, scale in enumerate(scales)]
    width, height = max(p.x + p.width for p in places), max(p.y + p.height for p in places)
    pixels = np.zeros((height, width, 3), np.float32)
    for place in places:
        size = place.width, place.height
        image = halve_towards(image, size)
        level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        pixels[place.y : place.y + place.height, place.x : place.x + place.width] = level
    yield Patchwork(pixels, places)
