"""Judging faces that are turned by quarters in their photo: each in the photo turned so that it is upright.

The networks learned from upright faces. Turned upright, a photo is what its sender could have sent as well, so nothing
passes that would not have passed that way.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from services.common.faces import Box
from services.liveness.minifasnet import Liveness

#: What turns a picture counter-clockwise by so many quarters.
ROTATIONS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def check_upright(
    check: Callable[[np.ndarray, Sequence[Box]], list[Liveness]],
    image: np.ndarray,
    boxes: Sequence[Box],
    quarter_turns: Sequence[int],
) -> list[Liveness]:
    """A verdict for each box, in their order.

    Args:
        check: judges upright faces of a picture.
        image: uint8 (height, width, 3), BGR.
        boxes: in its pixels.
        quarter_turns: by how many quarters each face is turned clockwise, 0 to 3.
    """
    verdicts: dict[int, Liveness] = {}
    for turns in sorted(set(quarter_turns)):
        places = [place for place, its in enumerate(quarter_turns) if its == turns]
        upright = [turn_box(boxes[place], turns, image.shape[1], image.shape[0]) for place in places]
        verdicts |= zip(places, check(turn(image, turns), upright), strict=True)
    return [verdicts[place] for place in range(len(boxes))]


def turn(image: np.ndarray, turns: int) -> np.ndarray:
    """A picture turned counter-clockwise by 0 to 3 quarters."""
    return cv2.rotate(image, ROTATIONS[turns]) if turns else image


def turn_box(box: Box, turns: int, width: int, height: int) -> Box:
    """A box of a picture of width x height pixels, in the picture turned counter-clockwise by 0 to 3 quarters."""
    for _ in range(turns):
        box = Box(box.y, width - box.x - box.width, box.height, box.width)
        width, height = height, width
    return box
