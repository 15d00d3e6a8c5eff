"""How a network sees a face and what is around it: a square cut out of the whole photo."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from services.common.faces import Box, View
from services.images.decode import ReducedPhoto, halve


def halved(photo: ReducedPhoto, shrink: float) -> ReducedPhoto:
    """A photo at 1/2, 1/4, 1/8 … of its full sides, the least that is no less than 1/shrink of them: averaged."""
    while 2 * photo.factor <= shrink and min(photo.pixels.shape[:2]) > 1:
        photo = replace(photo, pixels=halve(photo.pixels), factor=2 * photo.factor)
    return photo


def shrink_for(boxes: Sequence[Box], face_px: int) -> float:
    """How many times smaller a photo may become; `boxes`: at least one, in its pixels."""
    return min(min(box.width, box.height) for box in boxes) / face_px


def usable_scale(box: Box, height: float, width: float) -> float:
    """How many times a box can be enlarged until it is as large as the photo; below 1 where it is larger."""
    return min((height - 1) / box.height, (width - 1) / box.width)


def show(photo: np.ndarray, box: Box, view: View) -> np.ndarray:
    """A box with its surroundings, as MiniFASNet's authors cut it.

    The box is enlarged about its centre, by less where the photo is too small for all of it, and then moved, not cut,
    where it would reach over an edge. Its shape is kept until the end and stretched to a square, bilinearly and
    without smoothing, as in training (Silent-Face-Anti-Spoofing, src/generate_patches.py).

    Args:
        photo: uint8 (height, width, 3), any channel order.
        box: the face, in the photo's pixels.
        view: whose `face_px` is seen to already.

    Returns:
        uint8 (side, side, 3).
    """
    height, width = photo.shape[:2]
    scale = min(view.scale, usable_scale(box, height, width))
    left, right = _span(box.x, box.width, scale, width)
    top, bottom = _span(box.y, box.height, scale, height)
    return cv2.resize(photo[top:bottom, left:right], (view.side, view.side), interpolation=cv2.INTER_LINEAR)


def _span(start: float, length: float, scale: float, limit: int) -> tuple[int, int]:
    """First pixel and the one after the last of a stretch that was enlarged about its middle and moved inside."""
    enlarged = length * scale
    first = start + (length - enlarged) / 2
    first = min(max(first, 0.0), limit - 1 - enlarged)
    return int(first), int(first + enlarged) + 1
