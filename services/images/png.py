"""What of a PNG file makes its pixels: the rest, which can be anything and any size, is left out before it is decoded."""

import struct
from collections.abc import Iterator

from services.common.errors import InvalidImage

BEGIN = b"\x89PNG\r\n\x1a\n"

#: Chunks, at most: each costs time, however small it is.
MAX_CHUNKS = 100_000

#: Header, palette, transparency, pixels, end.
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def essentials(data: bytes) -> tuple[bytes, bytes]:
    """The file without texts, profiles and frames after the first; and its EXIF data, empty where there are none.

    Raises:
        InvalidImage: not made of chunks, too many of them, or one that is longer than the file.
    """
    kept, exif = [BEGIN], b""
    for kind, start, end in _chunks(data):
        if kind in NEEDED:
            kept.append(data[start:end])
        elif kind == b"eXIf":
            exif = exif or data[start + 8 : end - 4]
    return b"".join(kept), exif


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk, with its length, kind and checksum."""
    at = len(BEGIN)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return  # the end may be missing; whether pixels are is seen when they are decoded
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + length + 12
        if end > len(data):
            raise InvalidImage("the PNG is truncated, or claims a chunk that is longer than the file")
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise InvalidImage("the PNG has too many chunks")
