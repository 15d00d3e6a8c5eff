"""Pictures from untrusted bytes. What tells a picture's size is what decodes it: libjpeg-turbo for JPEG, else Pillow.

Files whose cost is bounded by what is known before are decoded here, others in a process with limits (bounded.py): no
file costs more than 500 MB and 3 s of a processor.
"""

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from services.common.errors import ImageTooLarge, InvalidImage
from services.images import formats, jpeg, png
from services.images.bounded import decoders
from services.images.exif import orientation_of
from services.images.file_type import begins_with
from services.images.process import Job

#: Photos with more pixels are refused before they are decoded: a small file can claim a gigantic picture.
MAX_PIXELS = 64_000_000

#: Bytes and pixels of a PNG or BMP file that is decoded here: crops are, and the photos that stages send each other.
CHEAP_BYTES, CHEAP_PIXELS = 13_000_000, 4_000_000

#: The head of a BMP file of plain pixels, as `encode_bmp` writes it (BITMAPFILEHEADER and BITMAPINFOHEADER): what it
#: says of the file's length, where pixels begin, the second header's length, width, height, planes, bits, compression.
BMP_HEAD = struct.Struct("<2xI4xIIiiHHI")

#: cv2.flip's code for an EXIF orientation; those from 5 on are transposed before.
FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}

#: How files of a format begin (`?` stands for any byte), and Pillow's name of it.
FORMATS = (
    (jpeg.BEGIN, "JPEG"),
    (png.BEGIN + b"????IHDR", "PNG"),
    (b"RIFF????WEBP", "WEBP"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"????ftypavif", "AVIF"),
    (b"????ftypavis", "AVIF"),
    *(
        (b"????ftyp" + brand, "HEIF")
        for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
    ),
)


@dataclass(frozen=True)
class ReducedPhoto:
    """A photo decoded at a fraction of its size.

    Attributes:
        pixels: uint8 (~full_height / factor, ~full_width / factor, 3), BGR, upright.
        factor: a power of 2: a point of `pixels` times this is the point of the full photo.
        full_width, full_height: pixels of the upright photo.
    """

    pixels: np.ndarray
    factor: int
    full_width: int
    full_height: int


def decode(data: bytes) -> np.ndarray:
    """Decodes a picture, upright (EXIF orientation applied), transparency over a light grey; 16 bits become 8.

    Args:
        data: a JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF file; of several pages or frames the first.

    Returns:
        uint8 (height, width, 3), BGR.

    Raises:
        InvalidImage: the bytes are no picture, a broken or truncated one, or one that costs too much.
        ImageTooLarge: more than MAX_PIXELS.
    """
    return decode_reduced(data, 1).pixels


def decode_reduced(data: bytes, shrink: float) -> ReducedPhoto:
    """Decodes a JPEG at 1/2, 1/4 or 1/8 of its sides if that is no less than 1/shrink of them; others at full size.

    The reduction happens in libjpeg's inverse DCT, each pixel being about the mean of the block it stands for.

    Args:
        data: as for `decode`.
        shrink: how many times smaller the photo may become; 1 or less means full size.

    Raises:
        InvalidImage, ImageTooLarge: as `decode`.
    """
    return _decode(data, lambda longer: shrink)


def decode_for(data: bytes, side: int) -> ReducedPhoto:
    """As `decode_reduced`, with the photo's longer side at no less than `side` pixels, where it is as long."""
    return _decode(data, lambda longer: longer / side)


def halve(pixels: np.ndarray) -> np.ndarray:
    """The mean of every two by two pixels, (height, width, 3) of any dtype; an odd last row or column is left out."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    return cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 (height, width, 3) BGR pixels; fast compression, lossless."""
    # One filter for all rows: as small as the best for each (85.8 and 85.6 KB a face), in two thirds of the time.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]
    ok, data = cv2.imencode(".png", pixels, options)
    if not ok:
        raise InvalidImage("the picture could not be encoded as PNG")
    return data.tobytes()


def encode_bmp(pixels: np.ndarray) -> bytes:
    """BMP of uint8 (height, width, 3) BGR pixels: large, and next to no work to write and to read."""
    ok, data = cv2.imencode(".bmp", pixels)
    if not ok:
        raise InvalidImage("the picture could not be encoded as BMP")
    return data.tobytes()


def _decode(data: bytes, shrink: Callable[[int], float]) -> ReducedPhoto:
    """`shrink` is told the photo's longer side."""
    kind = next((name for begin, name in FORMATS if begins_with(data, begin)), "")
    if not kind:
        raise InvalidImage("not a JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF file")
    if kind == "JPEG":
        return _decode_jpeg(data, shrink)
    if kind == "PNG":
        data, exif = png.essentials(data)
        pixels = _upright(_decode_other(data, kind)[0], orientation_of(exif))
    else:
        pixels = _upright(*_decode_other(data, kind))
    return ReducedPhoto(pixels, 1, pixels.shape[1], pixels.shape[0])


def _decode_jpeg(data: bytes, shrink: Callable[[int], float]) -> ReducedPhoto:
    header = jpeg.read_header(data)
    if header is None:
        pixels = _upright(*decoders().decode(Job("JPEG", MAX_PIXELS), data))
        return ReducedPhoto(pixels, 1, pixels.shape[1], pixels.shape[0])
    width, height = header.width, header.height
    if width * height > MAX_PIXELS:
        raise formats.too_large(width, height, MAX_PIXELS)
    wanted = shrink(max(width, height))
    factor = next((factor for factor in (8, 4, 2) if factor <= wanted), 1)
    if header.is_cheap:
        pixels = jpeg.decode(data, width, height, factor)
    else:
        pixels, _ = decoders().decode(Job("JPEG", MAX_PIXELS, factor, width, height), data)
    full = (height, width) if header.orientation >= 5 else (width, height)
    return ReducedPhoto(_upright(pixels, header.orientation), factor, *full)


def _decode_other(data: bytes, kind: str) -> tuple[np.ndarray, int]:
    """The pixels as stored, and the EXIF orientation."""
    if kind == "BMP" and (plain := _read_plain_bmp(data)) is not None:
        return plain, 1
    if kind in ("PNG", "BMP") and len(data) <= CHEAP_BYTES:
        with suppress(ImageTooLarge):
            return formats.decode(io.BytesIO(data), kind, CHEAP_PIXELS, _allocate)
    return decoders().decode(Job(kind, MAX_PIXELS), data)


def _read_plain_bmp(data: bytes) -> np.ndarray | None:
    """The pixels of a file such as `encode_bmp` writes, in next to no time; None of any other."""
    if len(data) < 54:
        return None
    length, start, second, width, height, *layout = BMP_HEAD.unpack_from(data)
    row = (3 * width + 3) // 4 * 4
    if (start, second, *layout) != (54, 40, 1, 24, 0) or min(width, height) < 1 or width * height > MAX_PIXELS:
        return None
    if not length == len(data) == start + row * height:
        return None
    rows = np.frombuffer(data, np.uint8, offset=start).reshape(height, row)[::-1, : 3 * width]
    return np.ascontiguousarray(rows).reshape(height, width, 3)


def _allocate(height: int, width: int) -> np.ndarray:
    return np.empty((height, width, 3), np.uint8)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    return cv2.flip(pixels, FLIPS[orientation]) if orientation in FLIPS else pixels
