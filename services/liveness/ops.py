"""Pure functions over photos and boxes: at which size a photo is judged, and which part of it a liveness network sees."""

from dataclasses import replace

import cv2
import numpy as np

from services.common.faces import Box
from services.images.decode import ReducedPhoto, decode_reduced, halve


def decode_halved(data: bytes, shrink: float) -> ReducedPhoto:
    """Decodes a picture at 1/2, 1/4, 1/8 … of its sides, the least that is no less than 1/shrink of them, whatever its
    format: what the decoder cannot reduce is averaged.

    Args, Raises: as services.images.decode.decode_reduced.
    """
    photo = decode_reduced(data, shrink)
    while 2 * photo.factor <= shrink and min(photo.pixels.shape[:2]) > 1:
        photo = replace(photo, pixels=halve(photo.pixels), factor=2 * photo.factor)
    return photo


def usable_scale(box: Box, height: int, width: int) -> float:
    """How many times a box can be enlarged until it is as large as the photo; below 1 where it is larger."""
    return min((height - 1) / box.height, (width - 1) / box.width)


def visible_share(box: Box, height: int, width: int) -> float:
    """The part of a box's area that lies inside the photo, 0 to 1."""
    across = min(box.x + box.width, width) - max(box.x, 0)
    down = min(box.y + box.height, height) - max(box.y, 0)
    return max(across, 0) * max(down, 0) / (box.width * box.height)


def crop_around(photo: np.ndarray, box: Box, scale: float, side: int) -> np.ndarray:
    """A box with its surroundings, as MiniFASNet's authors cut it.

    The box is enlarged about its centre, by less where the photo is too small for all of it, and then moved, not cut,
    where it would reach over an edge. Its shape is kept until the end and stretched to a square, bilinearly and
    without smoothing, as in training (Silent-Face-Anti-Spoofing, src/generate_patches.py).

    Args:
        photo: uint8 (height, width, 3), any channel order.
        box: the face, in the photo's pixels.
        scale: wanted size of the part over that of the box.
        side: of the result, pixels.

    Returns:
        uint8 (side, side, 3).
    """
    height, width = photo.shape[:2]
    scale = min(scale, usable_scale(box, height, width))
    left, right = _span(box.x, box.width, scale, width)
    top, bottom = _span(box.y, box.height, scale, height)
    return cv2.resize(photo[top:bottom, left:right], (side, side), interpolation=cv2.INTER_LINEAR)


def _span(start: float, length: float, scale: float, limit: int) -> tuple[int, int]:
    """First pixel and the one after the last of a stretch that was enlarged about its middle and moved inside."""
    enlarged = length * scale
    first = start + (length - enlarged) / 2
    first = min(max(first, 0.0), limit - 1 - enlarged)
    return int(first), int(first + enlarged) + 1
