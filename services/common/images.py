"""Pictures from untrusted bytes: Pillow reads what a file says of itself, OpenCV decodes it."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngStream
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.WebPImagePlugin import WebPImageFile

from services.common.errors import ImageTooLarge, InvalidImage

#: Photos with more pixels are refused before they are decoded: a small file can claim a gigantic picture.
MAX_PIXELS = 64_000_000

#: Bytes of a JPEG or TIFF file that are read for its header, at most. Whatever is read at once counts as at least so many:
#: a header of a million tiny pieces takes long, too.
MAX_HEADER_BYTES, LEAST_READ = 8 * 1024 * 1024, 4096

#: What Pillow raises where a header is broken.
BROKEN = (OSError, SyntaxError, ValueError, struct.error)

#: Tags of TIFF 6.0 and EXIF.
WIDTH, HEIGHT, ORIENTATION, TILE_WIDTH, TILE_HEIGHT = 256, 257, 274, 322, 323

#: OpenCV's flags by how many times smaller a picture is decoded.
REDUCTIONS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

#: cv2.flip's code for an EXIF orientation; those from 5 on are transposed before.
FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}


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
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


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


def decode(data: bytes, header: Header | None = None) -> np.ndarray:
    """Decodes a picture, upright (EXIF orientation applied). Transparency is ignored, 16 bits become 8.

    Args:
        data: a JPEG, PNG, WebP, BMP or TIFF file; of several pages or frames the first.
        header: that of the data, where it was read before.

    Returns:
        uint8 (height, width, 3), BGR.

    Raises:
        InvalidImage: the bytes are no picture, or a broken or truncated one.
        ImageTooLarge: more than MAX_PIXELS.
    """
    return _decode(data, header or read_header(data))


def decode_reduced(data: bytes, shrink: float, header: Header | None = None) -> ReducedPhoto:
    """Decodes a JPEG at 1/2, 1/4 or 1/8 of its sides if that is no less than 1/shrink of them; others at full size.

    The reduction happens in libjpeg's inverse DCT, each pixel being about the mean of the block it stands for.

    Args:
        data, header: as for `decode`.
        shrink: how many times smaller the photo may become; 1 or less means full size.

    Raises:
        InvalidImage, ImageTooLarge: as `decode`.
    """
    header = header or read_header(data)
    factor = next((factor for factor in (8, 4, 2) if factor <= shrink and header.format == "JPEG"), 1)
    pixels = _decode(data, header, factor)
    width, height = header.upright_size if factor > 1 else (pixels.shape[1], pixels.shape[0])
    return ReducedPhoto(pixels, factor, width, height)


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
    """Reads format and size from a picture's file; no pixel is decoded.

    Raises:
        InvalidImage: none of the formats, or a broken header.
        ImageTooLarge: more than MAX_PIXELS.
    """
    name, read = next(((name, read) for begin, name, read in _FORMATS if _begins_with(data, begin)), ("", None))
    if read is None:
        raise InvalidImage("not a JPEG, PNG, WebP, BMP or TIFF file")
    try:
        header = read(data)
    except Image.DecompressionBombError:  # WebP's decoder makes room for the pixels before Pillow tells their number
        raise ImageTooLarge(f"the picture has more pixels than the limit of {MAX_PIXELS // 1_000_000} million")
    except BROKEN as err:
        raise InvalidImage(f"the header of the {name} file is broken, or of a kind that we do not read") from err
    _check_size(header.width, header.height)
    return header


def _begins_with(data: bytes, begin: bytes) -> bool:
    """Whether it does; `?` in `begin` stands for any byte."""
    return len(data) >= len(begin) and all(b in (d, 0x3F) for b, d in zip(begin, data, strict=False))


class _HeaderFile(io.BytesIO):
    """A file of which no more than MAX_HEADER_BYTES can be read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.taken += max(len(piece), LEAST_READ)
        if self.taken > MAX_HEADER_BYTES:
            raise InvalidImage("the picture's header is too long")
        return piece


def _read_jpeg(data: bytes) -> Header:
    picture = JpegImageFile(_HeaderFile(data))
    return Header("JPEG", *picture.size, _exif_orientation(picture.info.get("exif", b"")))


def _exif_orientation(data: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(data)
        orientation = exif.get(ORIENTATION)
    except BROKEN:
        return 1  # decoders ignore broken EXIF, so do we
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _read_png(data: bytes) -> Header:
    """Only the first chunk is read: Pillow refuses texts and profiles that decoders skip."""
    file = io.BytesIO(data)
    file.seek(8)
    chunks = PngStream(file)
    chunks.call(*chunks.read())
    return Header("PNG", *chunks.im_size)


def _read_webp(data: bytes) -> Header:
    return Header("WebP", *WebPImageFile(io.BytesIO(data)).size)


def _read_bmp(data: bytes) -> Header:
    return Header("BMP", *BmpImageFile(io.BytesIO(data)).size)


def _read_tiff(data: bytes) -> Header:
    """The first page's. Where a size stands twice, or has a type that Pillow does not know, a decoder may see another one:
    such files are refused.
    """
    file = _HeaderFile(data)
    tags = ImageFileDirectory_v2(file.read(8))
    start, order = file.seek(tags.next), ">" if tags.prefix == b"MM" else "<"
    (count,) = struct.unpack(order + "H", file.read(2))
    listed = [tag for (tag,) in struct.iter_unpack(order + "H10x", file.read(12 * count))]
    file.seek(start)
    tags.load(file)
    sizes: list[Any] = [tags.get(WIDTH), tags.get(HEIGHT), tags.get(TILE_WIDTH, 1), tags.get(TILE_HEIGHT, 1)]
    told_once = all(listed.count(tag) == (tag in tags) for tag in (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT))
    if not told_once or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError("a size is missing, stands twice or is no number")
    width, height, *tile = sizes
    _check_size(*tile)  # a small picture can have gigantic tiles
    return Header("TIFF", width, height)


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", "JPEG", _read_jpeg),
    (b"\x89PNG\r\n\x1a\n????IHDR", "PNG", _read_png),
    (b"RIFF????WEBP", "WebP", _read_webp),
    (b"BM", "BMP", _read_bmp),
    (b"II*\0", "TIFF", _read_tiff),
    (b"MM\0*", "TIFF", _read_tiff),
)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageTooLarge(f"{width}x{height} pixels are more than the limit of {MAX_PIXELS // 1_000_000} million")


def _decode(data: bytes, header: Header, factor: int = 1) -> np.ndarray:
    """Decodes at 1/factor of the sides, upright."""
    flags = REDUCTIONS[factor] | (cv2.IMREAD_IGNORE_ORIENTATION if header.format == "JPEG" else 0)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as err:
        raise InvalidImage(f"the picture could not be decoded: {err.err}")
    if pixels is None:
        raise InvalidImage("the picture could not be decoded: it is broken, truncated or of a kind we do not read")
    if header.orientation >= 5:
        pixels = cv2.transpose(pixels)
    return cv2.flip(pixels, FLIPS[header.orientation]) if header.orientation in FLIPS else pixels
