"""Convolutional networks of squares, 3 × 3 windows and ReLUs, such as dlib's: fewer multiplications, in vectors.

Windows of 3 × 3 that move by one pixel are convolved as Lavin and Gray do ("Fast Algorithms for Convolutional Neural
Networks", 2016): tiles of the input are transformed, so that a product of matrices, with a quarter to 4/9 of the
multiplications, and a transformation back give tiles of the output. Others are products of matrices as they are.

Values are float32 (images, side, side, channels), with a border of zeros around each image, in one array.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from services.common import vectors

#: Tiles that are worked on together: what is in work then fits the second-level cache.
TILES = 60
#: Outputs of this side and more are made in tiles of 4 × 4 pixels; smaller ones of 2 × 2, whose transformed weights are
#: half as many: they take longer to load than the larger tiles would save.
LEAST_OF_LARGE_TILES = 8
#: Numbers by which neighbours are kept from sharing the same places of the processor's caches.
APART = 16

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


def prepared_planes(weights: np.ndarray) -> np.ndarray:
    """The weights of a POINTWISE step as `run` wants them.

    Args:
        weights: (filters, channels); filters a multiple of vectors.LANES.

    Returns:
        float32, flat: blocks of vectors.WIDTH columns, and where filters leave it one of half as many.
    """
    blocks = (weights[start : start + vectors.WIDTH].T.ravel() for start in range(0, len(weights), vectors.WIDTH))
    return np.concatenate([*blocks]).astype(np.float32)


def prepared_windows(weights: np.ndarray) -> np.ndarray:
    """The weights of a DEPTHWISE or WHOLE step as `run` wants them.

    Args:
        weights: (filters, window, window); filters a multiple of vectors.LANES.

    Returns:
        float32, flat: planes of the windows' pixels.
    """
    planes = weights.reshape(-1, vectors.LANES, weights[0].size)
    return np.ascontiguousarray(planes.transpose(0, 2, 1), np.float32).ravel()


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


def _pixels(count: int, heights: tuple[int, int, int]) -> Callable:
    """A compiled product of any number of pixels by `count` vectors of columns; see vectors.plane_product."""
    tall, low, single = (vectors.plane_product(height, count) for height in heights)
    most, some, _ = heights

    @njit(nogil=True)
    def product(pixels, source, planes, plane, last, matrix, bias, slopes, add, target, target_plane):
        vectors.stay_apart()
        while pixels:
            if pixels >= most:
                done = most
                tall(source, planes, plane, last, matrix, bias, slopes, add, target, target_plane)
            elif pixels >= some:
                done = some
                low(source, planes, plane, last, matrix, bias, slopes, add, target, target_plane)
            else:
                done = 1
                single(source, planes, plane, last, matrix, bias, slopes, add, target, target_plane)
            pixels -= done
            source += 4 * done * vectors.LANES
            target += 4 * done * vectors.LANES

    return product


_pixels_1, _pixels_2 = _pixels(1, vectors.TALL), _pixels(2, vectors.HEIGHTS)
_filter_1, _filter_2 = vectors.depthwise(1), vectors.depthwise(2)


@njit(nogil=True)
def _some_filters(step, first, source, plane, target, target_plane, constants):
    """WIDTH filters of a POINTWISE step over an image, from one on, or as many as there are: whole vectors."""
    vectors.stay_apart()
    pixels, planes = step.side * step.side, (step.channels + vectors.LANES - 1) // vectors.LANES
    last = step.channels - vectors.LANES * (planes - 1)
    matrix = constants + 4 * (step.weights + step.channels * first)
    bias, slopes = constants + 4 * (step.bias + first), constants + 4 * (step.slopes + first)
    if step.filters - first >= vectors.WIDTH:
        _pixels_2(pixels, source, planes, plane, last, matrix, bias, slopes, step.add, target, target_plane)
    else:
        _pixels_1(pixels, source, planes, plane, last, matrix, bias, slopes, step.add, target, target_plane)


@njit(nogil=True, inline="always")
def _all_filters(step, source, plane, target, target_plane, constants):
    """A POINTWISE step over an image."""
    for first in range(0, step.filters, vectors.WIDTH):
        to = target + 4 * target_plane * (first // vectors.LANES)
        _some_filters(step, first, source, plane, to, target_plane, constants)


@njit(nogil=True)
def _depthwise(step, plane, source, target, constants):
    """A plane of a DEPTHWISE step, windows of 3 × 3 with a border of zeros around an image."""
    vectors.stay_apart()
    first, row_out = vectors.LANES * plane, 4 * vectors.LANES * step.side
    row_in = step.stride * row_out
    weights = constants + 4 * (step.weights + 9 * first)
    bias, slopes = constants + 4 * (step.bias + first), constants + 4 * (step.slopes + first)
    for row in range(step.side):
        middle, to = source + row_in * step.stride * row, target + row_out * row
        is_above, is_below = np.intp(row > 0), np.intp(step.stride * row + 1 < step.side * step.stride)
        above, below = middle - row_in * is_above, middle + row_in * is_below
        if step.stride == 1:
            _filter_1(above, middle, below, is_above, is_below, weights, bias, slopes, to, step.side)
        else:
            _filter_2(above, middle, below, is_above, is_below, weights, bias, slopes, to, step.side)


@njit(nogil=True, inline="always")
def _bottleneck(wide, filtered, narrow, source, target, constants, memory):
    """A BOTTLENECK over an image: the channels become many, each is filtered, and they become few again. Of the many,
    WIDTH exist at a time; what is in work then fits the second-level cache."""
    before, after = vectors.LANES * (filtered.side * filtered.stride) ** 2, vectors.LANES * filtered.side**2
    middle = memory + 4 * before * (vectors.WIDTH // vectors.LANES)
    for first in range(0, wide.filters, vectors.WIDTH):
        _some_filters(wide, first, source, wide.source_plane, memory, before, constants)
        planes = min(vectors.WIDTH, wide.filters - first) // vectors.LANES
        for number in range(planes):
            plane = first // vectors.LANES + number
            _depthwise(filtered, plane, memory + 4 * before * number, middle + 4 * after * plane, constants)
    _all_filters(narrow, middle, after, target, narrow.target_plane, constants)


@njit(nogil=True, inline="always")
def _whole(step, source, target, constants):
    """A step of kind WHOLE over an image: a window as large as that, its own for each channel."""
    pixels = step.window**2
    for channel in range(0, 4 * step.filters, 4 * vectors.LANES):
        vectors.pool(constants + 4 * step.bias + channel, 1, 0, np.float32(1), target + channel)
    for pixel in range(0, 4 * vectors.LANES * pixels, 4 * vectors.LANES):
        for plane in range(step.filters // vectors.LANES):
            weights = constants + 4 * step.weights + pixel + 4 * vectors.LANES * pixels * plane
            there = source + pixel + 4 * step.source_plane * plane
            vectors.multiply_add(there, weights, target + 4 * vectors.LANES * plane)


@njit(nogil=True, inline="always")
def _squeeze(step, first, second, source, target, constants, memory):
    """A SQUEEZE over an image: the channels' means go through two POINTWISE steps and a sigmoid; the source times that
    is added to the target."""
    pixels, planes = step.side**2, step.filters // vectors.LANES
    means, few, shares = memory, memory + 4 * step.filters, memory + 8 * step.filters
    for pixel in range(pixels):
        for plane in range(planes):
            there = source + 4 * (step.source_plane * plane + vectors.LANES * pixel)
            vectors.pool(there, pixel == 0, 0, np.float32(1 / pixels), means + 4 * vectors.LANES * plane)
    _all_filters(first, means, vectors.LANES, few, vectors.LANES, constants)
    _all_filters(second, few, vectors.LANES, shares, vectors.LANES, constants)
    for plane in range(planes):
        share = shares + 4 * vectors.LANES * plane
        vectors.sigmoid(share)
        for pixel in range(pixels):
            place = 4 * (step.source_plane * plane + vectors.LANES * pixel)
            vectors.multiply_add(source + place, share, target + place)


@njit(nogil=True, inline="always")
def _planes(steps, number, images, source, target, constants, memory):
    """The step of that number, one of planes, an image at a time: together they would not be faster."""
    step = steps[number]
    for _ in range(images):
        if step.kind == BOTTLENECK:
            _bottleneck(step, steps[number + 1], steps[number + 2], source, target, constants, memory)
        elif step.kind == SQUEEZE:
            _squeeze(step, steps[number + 1], steps[number + 2], source, target, constants, memory)
        elif step.kind == WHOLE:
            _whole(step, source, target, constants)
        elif step.kind == POINTWISE:
            _all_filters(step, source, step.source_plane, target, step.target_plane, constants)
        else:
            for plane in range(step.filters // vectors.LANES):
                there = source + 4 * step.source_plane * plane
                _depthwise(step, plane, there, target + 4 * step.target_plane * plane, constants)
        source += 4 * step.source_image
        target += 4 * step.target_image


@njit(nogil=True)
def run(steps, images, values, parameters, memory):
    """Does the steps one after the other for all images. Compiled at its first call, which takes a second or two.

    Every distance and size of the steps is believed: it must fit the arrays.

    Args:
        steps: of STEP. A convolution's weights (see `prepared`) and bias are places in the parameters; its `side` is
            that of its output. It adds to what is at its target if `add`, and ends with a ReLU. For WINOGRAD, the source
            starts at the border, and can be read up to whole tiles; for the others, at the first pixel of a window.
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
            _planes(steps, number, images, source, target, constants, own)
        number += 3 if step.kind == BOTTLENECK or step.kind == SQUEEZE else 1
