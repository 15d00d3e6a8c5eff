"""Pictures of every format, whole, broken and hostile."""

import io
import struct
import zlib

import cv2
import numpy as np
import pillow_heif
from hypothesis import strategies as st
from PIL import Image

from deploy.local.demo import astronaut, jpeg
from tests.fuzz.edits import chosen, edited

#: Where the astronaut's face is in her photo, and how large pictures of it are: small, so that many can be looked at.
FACE = (slice(20, 240), slice(115, 335))
SIDE = 128


def face() -> np.ndarray:
    """uint8 (SIDE, SIDE, 3) BGR: a face with what is around it."""
    return cv2.resize(astronaut()[FACE], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def whole() -> list[bytes]:
    """Pictures that can be read: a face in each format, and odd ones. The first is a JPEG with a face."""
    pixels = face()
    pillow = Image.fromarray(pixels[:, :, ::-1])
    made = [jpeg(pixels, 90), *(_saved(pillow, kind) for kind in ("PNG", "BMP", "GIF", "TIFF", "WEBP"))]
    made.append(_saved(pillow, "TIFF", compression="tiff_lzw"))
    made.append(_saved(pillow, "JPEG", progressive=True, exif=_turned()))
    made.append(_saved(pillow.convert("RGBA"), "PNG"))
    made.append(_saved(pillow.convert("P"), "PNG", interlace=1))
    made.append(_saved(pillow.convert("CMYK"), "JPEG"))
    heif = io.BytesIO()
    pillow_heif.from_pillow(pillow).save(heif, quality=60)
    made.append(heif.getvalue())
    made.append(cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes())
    made += [_encoded(np.zeros(shape, np.uint8)) for shape in ((1, 1, 3), (1, 2000, 3), (2000, 1, 3), (60, 60))]
    return made


def hostile() -> list[bytes]:
    """Pictures that claim what they are not."""
    return [
        b"",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        bomb(60_000, 60_000),
        bomb(2**31 - 1, 2**31 - 1),
        bomb(0, 0),
        bomb(1, 64_000_000),
        b"GIF89a" + b"\xff" * 300,
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(100),
        b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 200,
        b"\0\0\0\x18ftypheic" + b"\xff" * 200,
        b"BM" + b"\xff" * 60,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ]


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims a gigantic picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + data + _chunk(b"IEND", b"")


def readable() -> st.SearchStrategy[bytes]:
    """Pictures that can be read."""
    return chosen(whole())


def odd() -> st.SearchStrategy[bytes]:
    """Others: changed somewhere, hostile, or none at all."""
    return st.one_of(edited(readable()), edited(readable()), chosen(hostile()), st.binary(max_size=64))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _encoded(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()
