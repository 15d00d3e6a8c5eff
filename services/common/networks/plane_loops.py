"""Convolutions of images that lie in planes, one vector of channels each: MobileNets' kinds, one pixel or one channel wide.

Pixels of a plane follow each other without borders, so that a product of matrices runs over all pixels of an image, and
a row of pixels stays in registers while a window moves along it. Functions take a step of convolution.STEP (Convolutions
there says what that means), and addresses of an image's first pixel in source and target, of the parameters (`constants`),
and of memory of their own. They work on one image: several at a time, sharing the weights, were not faster.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from services.common.networks import vectors
from services.common.networks.lanes import HEIGHTS, LANES, TALL, WIDTH


def _pixels(count: int, heights: tuple[int, int, int]) -> Callable:
    """A compiled product of any number of pixels by `count` vectors of columns; see vectors.plane_product."""
    tall, low, single = (vectors.plane_product(height, count) for height in heights)
    most, some, _ = heights

    @njit(error_model="numpy")
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
            source += 4 * done * LANES
            target += 4 * done * LANES

    return product


_pixels_1, _pixels_2 = _pixels(1, TALL), _pixels(2, HEIGHTS)
_filter_1, _filter_2 = vectors.depthwise(1), vectors.depthwise(2)


@njit(error_model="numpy")
def _some_filters(step, first, source, plane, target, target_plane, constants):
    """WIDTH filters of a POINTWISE step over an image, from one on, or as many as there are: whole vectors."""
    vectors.stay_apart()
    pixels, planes = step.side * step.side, (step.channels + LANES - 1) // LANES
    last = step.channels - LANES * (planes - 1)
    matrix = constants + 4 * (step.weights + step.channels * first)
    bias, slopes = constants + 4 * (step.bias + first), constants + 4 * (step.slopes + first)
    if step.filters - first >= WIDTH:
        _pixels_2(pixels, source, planes, plane, last, matrix, bias, slopes, step.add, target, target_plane)
    else:
        _pixels_1(pixels, source, planes, plane, last, matrix, bias, slopes, step.add, target, target_plane)


@njit(error_model="numpy", inline="always")
def pointwise(step, source, plane, target, target_plane, constants):
    """A step of kind POINTWISE: each pixel by itself. `plane`, `target_plane`: the distances of planes."""
    for first in range(0, step.filters, WIDTH):
        to = target + 4 * target_plane * (first // LANES)
        _some_filters(step, first, source, plane, to, target_plane, constants)


@njit(error_model="numpy")
def depthwise(step, plane, source, target, constants):
    """A plane of a DEPTHWISE step, windows of 3 × 3 with a border of zeros around an image."""
    vectors.stay_apart()
    first, row_out = LANES * plane, 4 * LANES * step.side
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


@njit(error_model="numpy", inline="always")
def bottleneck(wide, filtered, narrow, source, target, constants, memory):
    """A BOTTLENECK over an image: the channels become many, each is filtered, and they become few again. Of the many,
    WIDTH exist at a time; what is in work then fits the second-level cache."""
    before, after = LANES * (filtered.side * filtered.stride) ** 2, LANES * filtered.side**2
    middle = memory + 4 * before * (WIDTH // LANES)
    for first in range(0, wide.filters, WIDTH):
        _some_filters(wide, first, source, wide.source_plane, memory, before, constants)
        planes = min(WIDTH, wide.filters - first) // LANES
        for number in range(planes):
            plane = first // LANES + number
            depthwise(filtered, plane, memory + 4 * before * number, middle + 4 * after * plane, constants)
    pointwise(narrow, middle, after, target, narrow.target_plane, constants)


@njit(error_model="numpy", inline="always")
def whole(step, source, target, constants):
    """A step of kind WHOLE over an image: a window as large as that, its own for each channel."""
    pixels = step.window**2
    for channel in range(0, 4 * step.filters, 4 * LANES):
        vectors.pool(constants + 4 * step.bias + channel, 1, 0, np.float32(1), target + channel)
    for pixel in range(0, 4 * LANES * pixels, 4 * LANES):
        for plane in range(step.filters // LANES):
            weights = constants + 4 * step.weights + pixel + 4 * LANES * pixels * plane
            there = source + pixel + 4 * step.source_plane * plane
            vectors.multiply_add(there, weights, target + 4 * LANES * plane)


@njit(error_model="numpy", inline="always")
def squeeze(step, first, second, source, target, constants, memory):
    """A SQUEEZE over an image: the channels' means go through two POINTWISE steps and a sigmoid; the source times that
    is added to the target."""
    pixels, planes = step.side**2, step.filters // LANES
    means, few, shares = memory, memory + 4 * step.filters, memory + 8 * step.filters
    for pixel in range(pixels):
        for plane in range(planes):
            there = source + 4 * (step.source_plane * plane + LANES * pixel)
            vectors.pool(there, pixel == 0, 0, np.float32(1 / pixels), means + 4 * LANES * plane)
    pointwise(first, means, LANES, few, LANES, constants)
    pointwise(second, few, LANES, shares, LANES, constants)
    for plane in range(planes):
        share = shares + 4 * LANES * plane
        vectors.sigmoid(share)
        for pixel in range(pixels):
            place = 4 * (step.source_plane * plane + LANES * pixel)
            vectors.multiply_add(source + place, share, target + place)
