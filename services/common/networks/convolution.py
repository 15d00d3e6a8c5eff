"""Convolutional networks of squares, such as dlib's: few multiplications, in vectors.

Windows of 3 × 3 that move by one pixel are convolved as Lavin and Gray do ("Fast Algorithms for Convolutional Neural
Networks", 2016): tiles of the input are transformed, so that a product of matrices, with a quarter to 4/9 of the
multiplications, and a transformation back give tiles of the output. Others are products of matrices as they are.

Values are float32 (images, side, side, channels), with a border of zeros around each image, in one array; or in planes,
see plane_loops.py. What is here prepares the steps; convolution_loops.py does them.
"""

from pathlib import Path

import numpy as np

from services.common import native
from services.common.networks.lanes import LANES, WIDTH

#: Tiles that are worked on together: what is in work then fits the second-level cache.
TILES = 60
#: Outputs of this side and more are made in tiles of 4 × 4 pixels; smaller ones of 2 × 2, whose transformed weights are
#: half as many: they take longer to load than the larger tiles would save.
LEAST_OF_LARGE_TILES = 8
#: Numbers by which neighbours are kept from sharing the same places of the processor's caches.
APART = 16

#: The latter five work on planes, DIRECT gives either. A BOTTLENECK or SQUEEZE and the two steps after it are one.
WINOGRAD, DIRECT, MAXIMUM, AVERAGE, POINTWISE, DEPTHWISE, WHOLE, BOTTLENECK, SQUEEZE = range(9)

#: What a network does one after the other. Distances are in numbers: of the first pixel of the first image, and between
#: images, rows, pixels and planes, which are the vectors of a pixel's channels. Either these lie side by side, and a
#: pixel's distance is its number of channels, whole vectors but for the very first source; or a plane holds one vector
#: of each pixel, without borders. `channels` are the source's, `filters` the target's.
STEP = np.dtype(
    [
        (f"{value}_{part}", np.int64)
        for value in ("source", "target")
        for part in ("start", "image", "row", "pixel", "plane")
    ]
    + [(name, np.int64) for name in ("kind", "side", "window", "stride", "tile", "weights", "bias", "slopes", "add")]
    + [(name, np.int64) for name in ("channels", "filters")]
)

#: By the side of a tile: the transformations of inputs, weights and outputs (Lavin and Gray, 4.1 and 4.3).
INPUTS = {
    2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    4: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
WEIGHTS = {
    2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    4: np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
}
OUTPUTS = {
    2: [[1, 1, 1, 0], [0, 1, -1, -1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}


def prepared(weights: np.ndarray, tile: int) -> np.ndarray:
    """The weights of a WINOGRAD or DIRECT step.

    Args:
        weights: (filters, channels, window, window); filters a multiple of WIDTH.
        tile: the step's; 0 for DIRECT.

    Returns:
        float32, flat.
    """
    filters = len(weights)
    if tile:
        factors = np.einsum("ai,fcij,bj->abcf", WEIGHTS[tile], weights, WEIGHTS[tile])
    else:
        factors = weights.transpose(2, 3, 1, 0)
    blocks = factors.reshape((tile + 2) ** 2 if tile else 1, -1, filters // WIDTH, WIDTH)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3), np.float32).ravel()


def prepared_pixels(weights: np.ndarray) -> np.ndarray:
    """The weights of a POINTWISE step.

    Args:
        weights: (filters, channels); filters a multiple of LANES.

    Returns:
        float32, flat: blocks of WIDTH columns, and where filters leave it one of half as many.
    """
    blocks = (weights[start : start + WIDTH].T.ravel() for start in range(0, len(weights), WIDTH))
    return np.concatenate([*blocks]).astype(np.float32)


def prepared_windows(weights: np.ndarray) -> np.ndarray:
    """The weights of a DEPTHWISE or WHOLE step.

    Args:
        weights: (filters, window, window); filters a multiple of LANES.

    Returns:
        float32, flat: planes of the windows' pixels.
    """
    planes = weights.reshape(-1, LANES, weights[0].size)
    return np.ascontiguousarray(planes.transpose(0, 2, 1), np.float32).ravel()


def room(step: np.void) -> int:
    """How many numbers of memory of its own `run` needs for a step."""
    if step["kind"] == DEPTHWISE:  # as part of a bottleneck
        side = int(step["side"])
        return WIDTH * (side * int(step["stride"])) ** 2 + int(step["filters"]) * side**2
    if step["kind"] == SQUEEZE:
        return 3 * int(step["filters"])
    if step["kind"] == WINOGRAD:
        channels = step["source_pixel"] + step["target_pixel"]
        return LANES + (step["tile"] + 2) ** 2 * int(TILES * channels + 2 * APART)
    return int(step["side"]) * WIDTH


class Convolutions:
    """Does steps, in machine code. Safe to call from several threads."""

    def __init__(self, cache: Path | None = None) -> None:
        """
        Args:
            cache: see native.load.

        Raises:
            ModelUnavailable: the loops cannot be compiled here.
        """
        self._run = native.load("services.common.networks.convolution_loops", cache)

    def __call__(
        self, steps: np.ndarray, images: int, values: np.ndarray, parameters: np.ndarray, memory: np.ndarray
    ) -> None:
        """Does the steps one after the other for all images.

        Every distance and size of the steps is believed: it must fit the arrays.

        Args:
            steps: of STEP. A convolution's weights (see `prepared` and so on), bias and PReLU's slopes are places in
                the parameters; its `side` is that of its output. It adds to what is at its target if `add`, and ends
                with the PReLU: a slope of 0 makes that a ReLU, of 1 nothing. For WINOGRAD, the source starts at the
                border, and can be read up to whole tiles; for the others, at the first pixel of a window. A BOTTLENECK
                has the final target, the two after it are DEPTHWISE and POINTWISE, each of `side`s as if it were alone.
                A SQUEEZE is followed by two POINTWISE steps of one pixel.
            images: how many.
            values: float32, all sources and targets.
            parameters: float32.
            memory: float32, of at least the `room` of each step.
        """
        self._run(steps.ctypes.data, len(steps), images, values.ctypes.data, parameters.ctypes.data, memory.ctypes.data)
