"""Pictures by Pillow, which tells the size and decodes. All but small files are decoded in processes of their own, see
bounded.py: what Pillow and its libraries make of a hostile file is bounded there, not here.
"""

import struct
import zlib
from collections.abc import Callable
from typing import IO

import numpy as np
from PIL import Image, ImageFile

from services.common.errors import ImageTooLarge, InvalidImage
from services.images.exif import orientation_of

#: What Pillow and its plugins raise where a file is broken.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    struct.error,
    zlib.error,
)

#: What lies behind transparency: of black, mid grey, light grey and white, behind 26 cut-out portraits, the one that moved
#: Dlib's template least (cosine distance 0.0016 at the 90th percentile, else 0.0019 to 0.0022); all but white cost none
#: its acceptance.
BACKGROUND = (190, 190, 190)

#: Formats that Pillow or pi-heif turn upright themselves.
UPRIGHT = ("TIFF", "HEIF")

#: Rows converted at a time: bounds memory.
STRIP = 32


def decode(
    file: IO[bytes], kind: str, most_pixels: int, allocate: Callable[[int, int], np.ndarray]
) -> tuple[np.ndarray, int]:
    """Decodes a picture, of several frames or pages the first; transparency shows BACKGROUND, 16 bits become 8.

    Args:
        file: its file.
        kind: Pillow's name of its format.
        most_pixels: more are refused before any is decoded.
        allocate: makes room for height x width pixels: uint8 (height, width, 3).

    Returns:
        The pixels, BGR, and the EXIF orientation (1 to 8) by which they are still to be turned.

    Raises:
        InvalidImage, ImageTooLarge: see services.images.decode.decode.
    """
    try:
        with Image.open(file, formats=[kind]) as picture:
            if picture.width * picture.height > most_pixels:
                raise too_large(picture.width, picture.height, most_pixels)
            picture.load()
            orientation = 1 if kind in UPRIGHT else _orientation(picture)
            return _to_bgr(picture, allocate(picture.height, picture.width)), orientation
    except Image.DecompressionBombError as err:
        raise ImageTooLarge(str(err))
    except BROKEN as err:
        raise InvalidImage(f"the {kind} file is broken, truncated, or of a kind that we do not read: {err}")


def too_large(width: int, height: int, most_pixels: int) -> ImageTooLarge:
    """Why a picture is refused."""
    return ImageTooLarge(f"{width}x{height} pixels are more than the limit of {most_pixels // 1_000_000} million")


def _orientation(picture: ImageFile.ImageFile) -> int:
    exif = picture.info.get("exif", b"")
    return orientation_of(exif.removeprefix(b"Exif\0\0")) if isinstance(exif, bytes) else 1


def _to_bgr(picture: Image.Image, pixels: np.ndarray) -> np.ndarray:
    """Writes the picture's pixels, strip by strip."""
    for top in range(0, picture.height, STRIP):
        bottom = min(top + STRIP, picture.height)
        strip = _to_rgb(picture.crop((0, top, picture.width, bottom)))
        rows = np.frombuffer(strip.tobytes("raw", "BGR"), np.uint8)
        pixels[top:bottom] = rows.reshape(bottom - top, picture.width, 3)
    return pixels


def _to_rgb(strip: Image.Image) -> Image.Image:
    if strip.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8)).convert("RGB")
    if strip.mode in ("I", "F"):
        raise InvalidImage(f"pixels of mode {strip.mode} are not read")
    if not strip.has_transparency_data:
        return strip.convert("RGB")
    plain = Image.new("RGBA", strip.size, (*BACKGROUND, 255))
    return Image.alpha_composite(plain, strip.convert("RGBA")).convert("RGB")
