"""JPEG by libjpeg-turbo, which tells the size and decodes; what a file may cost is told by counting before."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

import numpy as np
import simplejpeg

from services.common.errors import InvalidImage
from services.images.exif import orientation_of

BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"

#: The byte after FF that begins a segment; two of them.
START_OF_SCAN, APP1 = 0xDA, 0xE1

#: Frames that are decoded at a speed that is known: baseline, extended and progressive, Huffman-coded. Others are
#: arithmetic-coded (some ten times slower) or lossless.
COMMON_FRAMES = (0xC0, 0xC1, 0xC2)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

#: Segments before the picture's data, at most. Those that there are hold 64 KiB each: it is the tiny ones that cost.
MAX_SEGMENTS = 4096

#: Pixels times scans that are decoded in at most 1.2 s, at 1 ns (empty scans) to 10 ns (full ones); and pixels, for each of
#: which 9 bytes are held where one scan is not all, as it need not be even if there is but one.
CHEAP_WORK, CHEAP_PIXELS = 120_000_000, 50_000_000

#: What simplejpeg raises where a file is broken.
BROKEN = (ValueError, KeyError, MemoryError)

#: What libjpeg-turbo says of a file that ends before its picture does. Of all else it warns and goes on, and so do we.
ENDS_EARLY = "premature end"


@dataclass(frozen=True)
class JpegHeader:
    """What is known before any pixel is decoded.

    Attributes:
        width, height: pixels as they are stored.
        orientation: EXIF orientation, 1 to 8.
        is_cheap: whether decoding is sure to cost little time and memory.
    """

    width: int
    height: int
    orientation: int
    is_cheap: bool


def read_header(data: bytes) -> JpegHeader | None:
    """Reads what comes before the picture.

    Returns:
        None of a file that `decode` does not read: CMYK, odd sampling, something amiss in the header, or no JPEG at all.

    Raises:
        InvalidImage: the header is too long.
    """
    is_common, exif = False, b""
    for kind, start, end in _segments(data):
        if kind == APP1 and not exif and data.startswith(b"Exif\0\0", start):
            exif = data[start + 6 : end]
        elif kind in FRAMES:
            is_common = kind in COMMON_FRAMES
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except BROKEN:
        return None
    if colours in ("CMYK", "YCCK"):
        return None
    scans = data.count(b"\xff\xda")  # thumbnails and what follows the picture are counted, too
    pixels = width * height
    is_cheap = is_common and scans * pixels <= CHEAP_WORK and pixels <= CHEAP_PIXELS
    return JpegHeader(width, height, orientation_of(exif), is_cheap)


def decode(data: bytes | mmap, width: int, height: int, factor: int, buffer: np.ndarray | None = None) -> np.ndarray:
    """Decodes at 1/factor of the sides; the reduction happens in the inverse DCT.

    Args:
        data: the file. Its end may be missing, but nothing of its picture.
        width, height: as `read_header` says.
        factor: 1, 2, 4 or 8.
        buffer: uint8, takes the pixels.

    Returns:
        uint8 (ceil(height / factor), ceil(width / factor), 3), BGR, as stored: not turned.

    Raises:
        InvalidImage: broken or truncated.
    """
    if data.rfind(END) < data.rfind(b"\xff\xda"):
        data = data[:] + END
    how = {"min_height": -(-height // factor), "min_width": -(-width // factor), "min_factor": 1, "buffer": buffer}
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "BGR", **how))
    except BROKEN as err:
        if ENDS_EARLY in str(err).lower():
            raise InvalidImage(f"the JPEG is truncated: {err}")
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "BGR", strict=False, **how))
    except BROKEN as err:
        raise InvalidImage(f"the JPEG could not be decoded: {err}")


_SEGMENT = re.compile(rb"\xff{1,16}([^\xff\x00])", re.DOTALL)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, start, end) of the segments up to the first scan, or up to where there is none; without their length."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _SEGMENT.match(data, at)
        if found is None or found[1][0] == START_OF_SCAN or found.end() + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, found.end())
        yield found[1][0], found.end() + 2, found.end() + length
        at = found.end() + length
    raise InvalidImage("the JPEG's header is too long")
