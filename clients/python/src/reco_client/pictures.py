"""Pictures as callers have them, into files as the API takes them."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, TypeAlias

#: A path, the bytes of a file, an array (H, W, 3) or (H, W) of uint8 in RGB order, or a PIL image.
Picture: TypeAlias = "str | os.PathLike[str] | bytes | Any"


def encoded(picture: Picture, name: str = "image") -> tuple[str, bytes]:
    """The name and bytes of a picture's file; arrays and PIL images become PNG, without loss.

    Raises:
        OSError: a path that cannot be read.
        TypeError: none of the kinds.
        ValueError: an array of another shape or type.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return name, bytes(picture)
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        return path.name, path.read_bytes()
    if hasattr(picture, "__array_interface__") and hasattr(picture, "dtype"):
        return f"{name}.png", _png_of_array(picture)
    if hasattr(picture, "save") and hasattr(picture, "convert"):
        from PIL import ImageOps  # here: whoever gives such an image has it

        file = io.BytesIO()
        ImageOps.exif_transpose(picture).convert("RGB").save(file, "PNG")
        return f"{name}.png", file.getvalue()
    raise TypeError(f"a picture is a path, bytes, an array or a PIL image, not {type(picture).__name__}")


def _png_of_array(array: Any) -> bytes:
    """An array (H, W, 3) or (H, W) of uint8, RGB or grey."""
    shape = tuple(array.shape)
    if str(array.dtype) != "uint8" or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
        raise ValueError(f"an array has the shape (H, W, 3) or (H, W) and is uint8, not {shape} {array.dtype}")
    height, width = shape[:2]
    row = width * (3 if len(shape) == 3 else 1)
    pixels = array.tobytes()
    lines = b"".join(b"\0" + pixels[start : start + row] for start in range(0, len(pixels), row))
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if len(shape) == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
