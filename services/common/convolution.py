"""Convolutional networks of squares, such as dlib's: few multiplications, in vectors.

Windows of 3 × 3 that move by one pixel are convolved as Lavin and Gray do ("Fast Algorithms for Convolutional Neural
Networks", 2016): tiles of the input are transformed, so that a product of matrices, with a quarter to 4/9 of the
multiplications, and a transformation back give tiles of the output. Others are products of matrices as they are.

Values are float32 (images, side, side, channels), with a border of zeros around each image, in one array; or in planes,
see planes.py.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from services.common import planes, vectors

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
    """Weights as `run` wants them.

    Args:
        weights: (filters, channels, window, window); filters a multiple of vectors.WIDTH.
        tile: the step's; 0 for DIRECT.

    Returns:
        float32, flat.
    """
    filters = len(weights)
    if tile:
        factors = np.einsum("ai,fcij,bj->abcf", WEIGHTS[tile], weights, WEIGHTS[tile])
    else:
        factors = weights.transpose(2, 3, 1, 0)
    blocks = factors.reshape((tile + 2) ** 2 if tile else 1, -1, filters // vectors.WIDTH, vectors.WIDTH)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3), np.float32).ravel()


def room(step: np.void) -> int:
    """How many numbers of memory of its own `run` needs for a step."""
    if step["kind"] == DEPTHWISE:  # as part of a bottleneck
        side = int(step["side"])
        return vectors.WIDTH * (side * int(step["stride"])) ** 2 + int(step["filters"]) * side**2
    if step["kind"] == SQUEEZE:
        return 3 * int(step["filters"])
    if step["kind"] == WINOGRAD:
        channels = step["source_pixel"] + step["target_pixel"]
        return vectors.LANES + (step["tile"] + 2) ** 2 * int(TILES * channels + 2 * APART)
    return int(step["side"]) * vectors.WIDTH


def _product(heights: tuple[int, ...]) -> Callable:
    """A compiled product of any number of rows by WIDTH columns; its arguments are that number and block_product's."""
    height, *lower = heights
    block, rest = vectors.block_product(height), _product(tuple(lower)) if lower else _nothing

    @njit(nogil=True)
    def product(rows, left, left_row, parts, part, length, right, target, target_row):
        vectors.stay_apart()
        while rows >= height:
            block(left, left_row, parts, part, length, right, target, target_row)
            rows -= height
            left += 4 * height * left_row
            target += 4 * height * target_row
        if rows:
            rest(rows, left, left_row, parts, part, length, right, target, target_row)

    return product


@njit(nogil=True)
def _nothing(rows, left, left_row, parts, part, length, right, target, target_row):
    """Below a height of one."""


def _winograd(tile: int) -> Callable:
    """A compiled step of kind WINOGRAD; see `run` for its arguments, all addresses."""
    tile_in, tile_out = vectors.tile_in(INPUTS[tile]), vectors.tile_out(OUTPUTS[tile])
    products = (tile + 2) ** 2

    @njit(nogil=True)
    def winograd(step, images, source, target, weights, bias, slopes, memory):
        vectors.stay_apart()
        across = (step.side + tile - 1) // tile
        channels, filters = step.source_pixel, step.target_pixel
        everything = images * across * across
        inputs = memory + 4 * vectors.LANES  # what is not wanted of a tile goes to the first numbers
        for first in range(0, everything, TILES):
            count = min(TILES, everything - first)
            inputs_apart, outputs_apart = count * channels + APART, count * filters + APART
            outputs = inputs + 4 * products * inputs_apart
            for number in range(count):
                image, place = divmod(first + number, across * across)
                row, column = divmod(place, across)
                here = step.source_image * image + tile * (step.source_row * row + channels * column)
                for channel in range(0, channels, vectors.LANES):
                    to = inputs + 4 * (number * channels + channel)
                    tile_in(source + 4 * (here + channel), step.source_row, channels, to, inputs_apart)
            for factor in range(products):
                left, to = inputs + 4 * factor * inputs_apart, outputs + 4 * factor * outputs_apart
                for block in range(0, filters, vectors.WIDTH):
                    right = weights + 4 * channels * (factor * filters + block)
                    _multiply(count, left, channels, 1, 0, channels, right, to + 4 * block, filters)
            for number in range(count):
                image, place = divmod(first + number, across * across)
                row, column = divmod(place, across)
                here = step.target_image * image + tile * (step.target_row * row + filters * column)
                rows, columns = step.side - tile * row, step.side - tile * column
                for channel in range(0, filters, vectors.LANES):
                    made, to = outputs + 4 * (number * filters + channel), target + 4 * (here + channel)
                    shift, slope, pitch = bias + 4 * channel, slopes + 4 * channel, step.target_row
                    tile_out(made, outputs_apart, shift, slope, step.add, to, pitch, filters, rows, columns, memory)

    return winograd


_multiply = _product(vectors.HEIGHTS)
_winograd_2, _winograd_4 = _winograd(2), _winograd(4)


@njit(nogil=True)
def _direct(step, images, source, target, weights, bias, slopes, memory):
    """A step of kind DIRECT, a row of an image and WIDTH filters at once."""
    vectors.stay_apart()
    length = step.window * step.source_pixel  # of the window's rows, which lie side by side in the source
    for block in range(0, step.filters, vectors.WIDTH):
        right = weights + 4 * block * step.window * length
        for image in range(images):
            for row in range(step.side):
                left = source + 4 * (step.source_image * image + step.source_row * step.stride * row)
                to = target + 4 * (step.target_image * image + step.target_row * row)
                pixel = step.stride * step.source_pixel
                _multiply(step.side, left, pixel, step.window, step.source_row, length, right, memory, vectors.WIDTH)
                for column in range(step.side):
                    for lane in range(0, vectors.WIDTH, vectors.LANES):
                        made = memory + 4 * (column * vectors.WIDTH + lane)
                        plane, channel = (block + lane) // vectors.LANES, 4 * (block + lane)
                        place = to + 4 * (column * step.target_pixel + plane * step.target_plane)
                        vectors.finish(made, bias + channel, slopes + channel, step.add, place)


@njit(nogil=True)
def _pool(step, images, source, target):
    """A step of kind MAXIMUM or AVERAGE. The target's channels beyond those of the source become zero."""
    vectors.stay_apart()
    largest = np.intp(step.kind == MAXIMUM)
    share = np.float32(1 if largest else 1 / step.window**2)
    for image in range(images):
        for row in range(step.side):
            for column in range(step.side):
                to = target + 4 * (step.target_image * image + step.target_row * row + step.target_pixel * column)
                corner = source + 4 * (step.source_image * image + step.source_row * step.stride * row)
                corner += 4 * step.source_pixel * step.stride * column
                for number in range(step.window**2):
                    y, x = divmod(number, step.window)
                    pixel = corner + 4 * (step.source_row * y + step.source_pixel * x)
                    for channel in range(0, 4 * step.source_pixel, 4 * vectors.LANES):
                        vectors.pool(pixel + channel, number == 0, largest, share, to + channel)
                for channel in range(4 * step.source_pixel, 4 * step.target_pixel, 4 * vectors.LANES):
                    vectors.pool(to + channel, 1, 0, np.float32(0), to + channel)


@njit(nogil=True, inline="always")
def _in_planes(steps, number, images, source, target, constants, memory):
    """The step of that number, of a kind that works on planes."""
    step = steps[number]
    for _ in range(images):
        if step.kind == BOTTLENECK:
            planes.bottleneck(step, steps[number + 1], steps[number + 2], source, target, constants, memory)
        elif step.kind == SQUEEZE:
            planes.squeeze(step, steps[number + 1], steps[number + 2], source, target, constants, memory)
        elif step.kind == WHOLE:
            planes.whole(step, source, target, constants)
        elif step.kind == POINTWISE:
            planes.pointwise(step, source, step.source_plane, target, step.target_plane, constants)
        else:
            for plane in range(step.filters // vectors.LANES):
                there = source + 4 * step.source_plane * plane
                planes.depthwise(step, plane, there, target + 4 * step.target_plane * plane, constants)
        source += 4 * step.source_image
        target += 4 * step.target_image


@njit(nogil=True)
def run(steps, images, values, parameters, memory):
    """Does the steps one after the other for all images. Compiled at its first call, which takes a second or two.

    Every distance and size of the steps is believed: it must fit the arrays.

    Args:
        steps: of STEP. A convolution's weights (see `prepared` here and in planes.py), bias and PReLU's slopes are
            places in the parameters; its `side` is that of its output. It adds to what is at its target if `add`, and
            ends with the PReLU: a slope of 0 makes that a ReLU, of 1 nothing. For WINOGRAD, the source starts at the
            border, and can be read up to whole tiles; for the others, at the first pixel of a window. A BOTTLENECK has
            the final target, the two after it are DEPTHWISE and POINTWISE, each of `side`s as if it were alone. A
            SQUEEZE is followed by two POINTWISE steps of one pixel.
        images: how many.
        values: float32, all sources and targets.
        parameters: float32.
        memory: float32, of at least the `room` of each step.
    """
    start, constants, own = values.ctypes.data, parameters.ctypes.data, memory.ctypes.data
    number = 0
    while number < len(steps):
        step = steps[number]
        source, target = start + 4 * step.source_start, start + 4 * step.target_start
        weights, bias = constants + 4 * step.weights, constants + 4 * step.bias
        slopes = constants + 4 * step.slopes
        if step.kind == WINOGRAD:
            if step.tile == 2:
                _winograd_2(step, images, source, target, weights, bias, slopes, own)
            else:
                _winograd_4(step, images, source, target, weights, bias, slopes, own)
        elif step.kind == DIRECT:
            _direct(step, images, source, target, weights, bias, slopes, own)
        elif step.kind == MAXIMUM or step.kind == AVERAGE:
            _pool(step, images, source, target)
        else:
            _in_planes(steps, number, images, source, target, constants, own)
        number += 3 if step.kind == BOTTLENECK or step.kind == SQUEEZE else 1
