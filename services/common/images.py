"""Pictures from untrusted bytes."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.common.errors import ImageTooLarge, InvalidImage

#: Photos with more pixels are refused before they are decoded: a small file can claim a gigantic picture.
MAX_PIXELS = 64_000_000

FORMATS = "JPEG, PNG, WebP, BMP or TIFF"

#: Segments and stray marker bytes read in search of a JPEG's size; real files have less than a thousand.
MAX_JPEG_SEGMENTS = 10_000


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself before any pixel is decoded.

    Attributes:
        format: "JPEG", "PNG", "WebP", "BMP" or "TIFF".
        width, height: pixels as they are stored, before EXIF orientation is applied.
        orientation: EXIF orientation, 1 to 8 (read for JPEG only; 1 elsewhere).
    """

    format: str
    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) with the orientation applied."""
        return (self.height, self.width) if self.orientation in (5, 6, 7, 8) else (self.width, self.height)


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
    """Decodes a picture, upright (EXIF orientation applied). Transparency is ignored, 16 bits become 8.

    Args:
        data: a JPEG, PNG, WebP, BMP or TIFF file; of several pages or frames the first.

    Returns:
        uint8 (height, width, 3), BGR.

    Raises:
        InvalidImage: the bytes are no picture, or a broken or truncated one.
        ImageTooLarge: more than MAX_PIXELS.
    """
    read_header(data)
    return _imdecode(data, cv2.IMREAD_COLOR)


def decode_reduced(data: bytes, shrink: float) -> ReducedPhoto:
    """Decodes a JPEG at 1/2, 1/4 or 1/8 of its sides if that is no less than 1/shrink of them; others at full size.

    The reduction happens in libjpeg's inverse DCT, each pixel being about the mean of the block it stands for.

    Args:
        data: as for `decode`.
        shrink: how many times smaller the photo may become; 1 or less means full size.

    Raises:
        InvalidImage, ImageTooLarge: as `decode`.
    """
    header = read_header(data)
    factor = next((f for f in (8, 4, 2) if f <= shrink and header.format == "JPEG"), 1)
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    pixels = _imdecode(data, flags[factor])
    width, height = header.upright_size if factor > 1 else (pixels.shape[1], pixels.shape[0])
    return ReducedPhoto(pixels, factor, width, height)


def decode_halved(data: bytes, shrink: float) -> ReducedPhoto:
    """Decodes a picture at 1/2, 1/4, 1/8 … of its sides, the least that is no less than 1/shrink of them, whatever its
    format: what the decoder cannot reduce is averaged.

    Args, Raises: as `decode_reduced`.
    """
    photo = decode_reduced(data, shrink)
    while 2 * photo.factor <= shrink and min(photo.pixels.shape[:2]) > 1:
        photo = replace(photo, pixels=halve(photo.pixels), factor=2 * photo.factor)
    return photo


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


def read_header(data: bytes) -> Header:
    """Reads format and size from a picture file's first bytes; no pixel is decoded.

    Raises:
        InvalidImage: none of the formats, or a broken header.
        ImageTooLarge: more than MAX_PIXELS.
    """
    read = next((reader for magic, reader in _READERS if _matches(data, magic)), None)
    if read is None:
        raise InvalidImage(f"not a {FORMATS} file")
    try:
        header = read(data)
    except (struct.error, IndexError):
        raise InvalidImage("the picture's header is broken")
    if header.width < 1 or header.height < 1:
        raise InvalidImage(f"the {header.format} file says that it is {header.width}x{header.height} pixels")
    _check_size(header.width, header.height)
    return header


def _imdecode(data: bytes, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as err:
        raise InvalidImage(f"the picture could not be decoded: {err.err}")
    if pixels is None:
        raise InvalidImage("the picture could not be decoded: it is broken, truncated or of a kind we do not read")
    return pixels


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageTooLarge(f"{width}x{height} pixels are more than the limit of {MAX_PIXELS // 1_000_000} million")


def _matches(data: bytes, magic: bytes) -> bool:
    """Whether data begins with magic; `?` in magic stands for any byte."""
    return len(data) >= len(magic) and all(m in (d, 0x3F) for d, m in zip(data, magic, strict=False))


def _read_jpeg(data: bytes) -> Header:
    """ITU T.81 annex B: marker segments up to the frame header (SOFn)."""
    exif = b""
    for marker, start, length in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, start + 3)
            return Header("JPEG", width, height, _exif_orientation(exif) if exif else 1)
        if marker == 0xE1 and not exif and data[start + 2 : start + 8] == b"Exif\0\0":
            exif = data[start + 8 : start + length]
    raise InvalidImage("the JPEG file has no frame header")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, position of the length field, length) of each segment before the scan; at most MAX_JPEG_SEGMENTS."""
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0:
            return
        marker = data[position + 1]
        if marker in (0xD9, 0xDA):  # end, start of scan
            return
        if marker == 0xFF:
            position += 1  # a fill byte
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            position += 2  # these have no length
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            yield marker, position + 2, length
            position += 2 + max(length, 2)


def _exif_orientation(exif: bytes) -> int:
    try:
        value = _tiff_tags(exif).get(0x0112, 1)
    except struct.error:
        return 1  # decoders ignore broken EXIF, so do we
    return value if 1 <= value <= 8 else 1


def _read_png(data: bytes) -> Header:
    return Header("PNG", *struct.unpack_from(">II", data, 16))


def _read_webp(data: bytes) -> Header:
    """RFC 9649: lossy (VP8), lossless (VP8L) and extended (VP8X) files."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        low = struct.unpack_from("<HBHB", data, 24)
        return Header("WebP", 1 + low[0] + (low[1] << 16), 1 + low[2] + (low[3] << 16))
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    raise InvalidImage("the WebP file has no picture")


def _read_bmp(data: bytes) -> Header:
    (kind,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if kind == 12 else "<ii", data, 18)
    return Header("BMP", width, abs(height))


def _read_tiff(data: bytes) -> Header:
    tags = _tiff_tags(data)
    _check_size(tags.get(322, 1), tags.get(323, 1))  # a small picture can have gigantic tiles
    return Header("TIFF", tags.get(256, 0), tags.get(257, 0))


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The first directory's single numbers (TIFF 6.0, section 2), by tag."""
    order = ">" if data[:2] == b"MM" else "<"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _ = struct.unpack_from(order + "HHI", data, entry)
        if kind in (3, 4):  # SHORT, LONG
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    return tags


_READERS = (
    (b"\xff\xd8\xff", _read_jpeg),
    (b"\x89PNG\r\n\x1a\n????IHDR", _read_png),
    (b"RIFF????WEBP", _read_webp),
    (b"BM", _read_bmp),
    (b"II*\0", _read_tiff),
    (b"MM\0*", _read_tiff),
)
