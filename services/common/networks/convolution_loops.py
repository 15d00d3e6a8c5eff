"""The loops of convolution.py, which says what its steps mean; run as machine code."""

from collections.abc import Callable

import numpy as np
from numba import from_dtype, njit

from services.common.networks import plane_loops, vectors
from services.common.networks.convolution import (
    APART,
    AVERAGE,
    BOTTLENECK,
    DIRECT,
    INPUTS,
    MAXIMUM,
    OUTPUTS,
    POINTWISE,
    SQUEEZE,
    STEP,
    TILES,
    WHOLE,
    WINOGRAD,
)
from services.common.networks.lanes import HEIGHTS, LANES, WIDTH

SIZE = STEP.itemsize

_step = vectors.pointer(from_dtype(STEP))


def _product(heights: tuple[int, ...]) -> Callable:
    """A compiled product of any number of rows by WIDTH columns; its arguments are that number and block_product's."""
    height, *lower = heights
    block, rest = vectors.block_product(height), _product(tuple(lower)) if lower else _nothing

    @njit(error_model="numpy")
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


@njit(error_model="numpy")
def _nothing(rows, left, left_row, parts, part, length, right, target, target_row):
    """Below a height of one."""


def _winograd(tile: int) -> Callable:
    """A compiled step of kind WINOGRAD; see `run` for its arguments, all addresses."""
    tile_in, tile_out = vectors.tile_in(INPUTS[tile]), vectors.tile_out(OUTPUTS[tile])
    products = (tile + 2) ** 2

    @njit(error_model="numpy")
    def winograd(step, images, source, target, weights, bias, slopes, memory):
        vectors.stay_apart()
        across = (step.side + tile - 1) // tile
        channels, filters = step.source_pixel, step.target_pixel
        everything = images * across * across
        inputs = memory + 4 * LANES  # what is not wanted of a tile goes to the first numbers
        for first in range(0, everything, TILES):
            count = min(TILES, everything - first)
            inputs_apart, outputs_apart = count * channels + APART, count * filters + APART
            outputs = inputs + 4 * products * inputs_apart
            for number in range(count):
                image, place = divmod(first + number, across * across)
                row, column = divmod(place, across)
                here = step.source_image * image + tile * (step.source_row * row + channels * column)
                for channel in range(0, channels, LANES):
                    to = inputs + 4 * (number * channels + channel)
                    tile_in(source + 4 * (here + channel), step.source_row, channels, to, inputs_apart)
            for factor in range(products):
                left, to = inputs + 4 * factor * inputs_apart, outputs + 4 * factor * outputs_apart
                for block in range(0, filters, WIDTH):
                    right = weights + 4 * channels * (factor * filters + block)
                    _multiply(count, left, channels, 1, 0, channels, right, to + 4 * block, filters)
            for number in range(count):
                image, place = divmod(first + number, across * across)
                row, column = divmod(place, across)
                here = step.target_image * image + tile * (step.target_row * row + filters * column)
                rows, columns = step.side - tile * row, step.side - tile * column
                for channel in range(0, filters, LANES):
                    made, to = outputs + 4 * (number * filters + channel), target + 4 * (here + channel)
                    shift, slope, pitch = bias + 4 * channel, slopes + 4 * channel, step.target_row
                    tile_out(made, outputs_apart, shift, slope, step.add, to, pitch, filters, rows, columns, memory)

    return winograd


_multiply = _product(HEIGHTS)
_winograd_2, _winograd_4 = _winograd(2), _winograd(4)


@njit(error_model="numpy")
def _direct(step, images, source, target, weights, bias, slopes, memory):
    """A step of kind DIRECT, a row of an image and WIDTH filters at once."""
    vectors.stay_apart()
    length = step.window * step.source_pixel  # of the window's rows, which lie side by side in the source
    for block in range(0, step.filters, WIDTH):
        right = weights + 4 * block * step.window * length
        for image in range(images):
            for row in range(step.side):
                left = source + 4 * (step.source_image * image + step.source_row * step.stride * row)
                to = target + 4 * (step.target_image * image + step.target_row * row)
                pixel = step.stride * step.source_pixel
                _multiply(step.side, left, pixel, step.window, step.source_row, length, right, memory, WIDTH)
                for column in range(step.side):
                    for lane in range(0, WIDTH, LANES):
                        made = memory + 4 * (column * WIDTH + lane)
                        plane, channel = (block + lane) // LANES, 4 * (block + lane)
                        place = to + 4 * (column * step.target_pixel + plane * step.target_plane)
                        vectors.finish(made, bias + channel, slopes + channel, step.add, place)


@njit(error_model="numpy")
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
                    for channel in range(0, 4 * step.source_pixel, 4 * LANES):
                        vectors.pool(pixel + channel, number == 0, largest, share, to + channel)
                for channel in range(4 * step.source_pixel, 4 * step.target_pixel, 4 * LANES):
                    vectors.pool(to + channel, 1, 0, np.float32(0), to + channel)


@njit(error_model="numpy", inline="always")
def _in_planes(place, images, source, target, constants, memory):
    """The step at an address, of a kind that works on planes."""
    step, second, third = _step(place), _step(place + SIZE), _step(place + 2 * SIZE)
    for _ in range(images):
        if step.kind == BOTTLENECK:
            plane_loops.bottleneck(step, second, third, source, target, constants, memory)
        elif step.kind == SQUEEZE:
            plane_loops.squeeze(step, second, third, source, target, constants, memory)
        elif step.kind == WHOLE:
            plane_loops.whole(step, source, target, constants)
        elif step.kind == POINTWISE:
            plane_loops.pointwise(step, source, step.source_plane, target, step.target_plane, constants)
        else:
            for plane in range(step.filters // LANES):
                there = source + 4 * step.source_plane * plane
                plane_loops.depthwise(step, plane, there, target + 4 * step.target_plane * plane, constants)
        source += 4 * step.source_image
        target += 4 * step.target_image


@vectors.kernel
def run(steps_at, count, images, values, parameters, memory):
    """See convolution.Convolutions; all but the numbers of steps and images are addresses."""
    place = steps_at
    while place < steps_at + SIZE * count:
        step = _step(place)
        source, target = values + 4 * step.source_start, values + 4 * step.target_start
        weights, bias = parameters + 4 * step.weights, parameters + 4 * step.bias
        slopes = parameters + 4 * step.slopes
        if step.kind == WINOGRAD:
            if step.tile == 2:
                _winograd_2(step, images, source, target, weights, bias, slopes, memory)
            else:
                _winograd_4(step, images, source, target, weights, bias, slopes, memory)
        elif step.kind == DIRECT:
            _direct(step, images, source, target, weights, bias, slopes, memory)
        elif step.kind == MAXIMUM or step.kind == AVERAGE:
            _pool(step, images, source, target)
        else:
            _in_planes(place, images, source, target, parameters, memory)
        place += 3 * SIZE if step.kind == BOTTLENECK or step.kind == SQUEEZE else SIZE
