"""services/common/images.py: every format, and bytes that want to do harm."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from services.common import images
from services.common.errors import ImageTooLarge, InvalidImage

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]


def quadrants(width: int = 60, height: int = 40) -> np.ndarray:
    """An RGB picture whose four quarters differ: red, green / blue, white."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = 255
    return picture


def file_of(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def corner_names(bgr: np.ndarray) -> list[str]:
    names = {(0, 0, 1): "red", (0, 1, 0): "green", (1, 0, 0): "blue", (1, 1, 1): "white"}
    corners = [bgr[y, x] for y in (3, -4) for x in (3, -4)]
    return [names[tuple(int(v > 127) for v in corner)] for corner in corners]


@pytest.mark.parametrize("kind", FORMATS)
def test_decodes_every_format_to_bgr(kind):
    pixels = images.decode(file_of(Image.fromarray(quadrants()), kind))
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8
    assert corner_names(pixels) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, ["red", "green", "blue", "white"]),
        (2, ["green", "red", "white", "blue"]),
        (3, ["white", "blue", "green", "red"]),
        (6, ["blue", "red", "white", "green"]),
        (8, ["green", "white", "red", "blue"]),
    ],
)
def test_exif_orientation_is_applied(kind, orientation, corners):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(Image.fromarray(quadrants()), kind, exif=exif)
    assert corner_names(images.decode(data)) == corners
    reduced = images.decode_reduced(data, 2)
    assert corner_names(reduced.pixels) == corners
    assert (reduced.full_width, reduced.full_height) == ((40, 60) if orientation in (6, 8) else (60, 40))


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (Image.fromarray(quadrants()).convert("L"), "JPEG"),
        (Image.fromarray(quadrants()).convert("L"), "PNG"),
        (Image.fromarray(quadrants()).convert("P"), "PNG"),
        (Image.fromarray(quadrants()).convert("1"), "TIFF"),
        (Image.fromarray(quadrants()).convert("LA"), "PNG"),
        (Image.fromarray(quadrants()).convert("RGBA"), "PNG"),
        (Image.fromarray(quadrants()).convert("RGBA"), "WEBP"),
        (Image.fromarray(quadrants()).convert("CMYK"), "JPEG"),
        (Image.fromarray(quadrants()).convert("CMYK"), "TIFF"),
        (Image.fromarray(np.full((40, 60), 40_000, np.uint16)), "PNG"),
        (Image.fromarray(np.full((40, 60), 40_000, np.uint16)), "TIFF"),
    ],
)
def test_every_colour_model_becomes_8_bit_bgr(picture, kind):
    pixels = images.decode(file_of(picture, kind))
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8


def test_16_bits_keep_their_brightness():
    data = file_of(Image.fromarray(np.full((40, 60), 40_000, np.uint16)), "PNG")
    assert abs(int(images.decode(data)[0, 0, 0]) - 156) <= 1


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(kind, share):
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(picture), kind)
    with pytest.raises(InvalidImage):
        images.decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_refused_or_decoded_whole(kind):
    random = np.random.default_rng(1)
    data = file_of(Image.fromarray(random.integers(0, 256, (120, 160, 3), dtype=np.uint8)), kind)
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 8):
            damaged[place] = random.integers(256)
        try:
            pixels = images.decode(bytes(damaged))
        except InvalidImage:
            continue
        assert pixels.ndim == 3 and pixels.dtype == np.uint8 and pixels.shape[0] * pixels.shape[1] <= images.MAX_PIXELS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8\xff",
        b"hello, this is no picture",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF1234WEBP",
        b"BM",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"GIF89a" + bytes(100),
        bytes(1000),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(InvalidImage):
        images.decode(data)


def claims(kind: str, width: int, height: int) -> bytes:
    """A small file that says it is a gigantic picture."""
    data = bytearray(file_of(Image.fromarray(quadrants()), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, -height)
    elif kind == "WEBP":
        data[26:30] = struct.pack("<HH", width, height)
    else:
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<HHI", tag, 4 if struct.pack("<HH", tag, 4) in data else 3, 1))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_gigantic_size_is_refused_before_decoding(kind, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge):
        images.decode(claims(kind, 16_000, 15_000))


@pytest.mark.parametrize("flavour", [{"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_size_of_other_webp_flavours(flavour):
    header = images.read_header(file_of(Image.fromarray(quadrants(123, 77)), "WEBP", **flavour))
    assert (header.width, header.height) == (123, 77)


def test_a_hundred_megabytes_of_markers_are_refused_at_once():
    for filler in (b"\0" * 50_000_000, b"\xff" * 50_000_000, b"\xff\xe0\0\2" * 12_000_000):
        with pytest.raises(InvalidImage):
            images.decode(b"\xff\xd8\xff" + filler)


@pytest.mark.parametrize(("shrink", "factor"), [(0.5, 1), (1.9, 1), (2, 2), (5, 4), (100, 8)])
def test_reduced_decoding_keeps_the_frame(shrink, factor):
    data = file_of(Image.fromarray(quadrants(611, 403)), "JPEG")
    photo = images.decode_reduced(data, shrink)
    assert photo.factor == factor and (photo.full_width, photo.full_height) == (611, 403)
    assert photo.pixels.shape[:2] == (-(-403 // factor), -(-611 // factor))
    assert images.decode_reduced(file_of(Image.fromarray(quadrants()), "PNG"), shrink).factor == 1


@pytest.mark.parametrize(("shrink", "factor"), [(0.5, 1), (3.9, 2), (5, 4), (20, 16)])
def test_halving_makes_every_format_alike(shrink, factor):
    picture = Image.fromarray(cv2.GaussianBlur(quadrants(608, 400), (0, 0), 20))
    jpeg, png = (images.decode_halved(file_of(picture, kind), shrink) for kind in ("JPEG", "PNG"))
    assert jpeg.factor == png.factor == factor
    assert jpeg.pixels.shape == png.pixels.shape == (400 // factor, 608 // factor, 3)
    assert np.abs(jpeg.pixels.astype(int) - png.pixels).mean() < 2


@pytest.mark.parametrize("encode", [images.encode_png, images.encode_bmp])
def test_lossless_round_trip(encode):
    pixels = np.random.default_rng(2).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    assert np.array_equal(images.decode(encode(pixels)), pixels)
