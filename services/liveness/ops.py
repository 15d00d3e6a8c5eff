"""Pure functions over photos and boxes: at which size a photo is judged, and how much of a face it shows."""

from services.common.faces import Box
from services.images.decode import ReducedPhoto, decode_reduced
from services.images.views import halved


def decode_halved(data: bytes, shrink: float) -> ReducedPhoto:
    """Decodes a picture at 1/2, 1/4, 1/8 … of its sides, the least that is no less than 1/shrink of them, whatever its
    format: what the decoder cannot reduce is averaged.

    Args, Raises: as services.images.decode.decode_reduced.
    """
    return halved(decode_reduced(data, shrink), shrink)


def visible_share(box: Box, height: float, width: float) -> float:
    """The part of a box's area that lies inside the photo, 0 to 1."""
    across = min(box.x + box.width, width) - max(box.x, 0)
    down = min(box.y + box.height, height) - max(box.y, 0)
    return max(across, 0) * max(down, 0) / (box.width * box.height)
