"""services/images/decode.py: every format, and bytes that want to do harm."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from services.common.errors import ImageTooLarge, InvalidImage
from services.images import decode as images

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "HEIF", "AVIF"]

register_heif_opener()

#: Pillow warns of odd TIFF and EXIF entries; the services' log ignores it.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, ["red", "green", "blue", "white"]),
        (2, ["green", "red", "white", "blue"]),
        (3, ["white", "blue", "green", "red"]),
        (4, ["blue", "white", "red", "green"]),
        (5, ["red", "blue", "green", "white"]),
        (6, ["blue", "red", "white", "green"]),
        (7, ["white", "green", "blue", "red"]),
        (8, ["green", "white", "red", "blue"]),
    ],
)
def test_exif_orientation_is_applied(kind, orientation, corners):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(Image.fromarray(quadrants()), kind, exif=exif.tobytes())
    assert corner_names(images.decode(data)) == corners
    reduced = images.decode_reduced(data, 2)
    assert corner_names(reduced.pixels) == corners
    assert (reduced.full_width, reduced.full_height) == ((40, 60) if orientation >= 5 else (60, 40))


def with_exif(*entries: tuple[int, int, int, int]) -> bytes:
    """A JPEG whose EXIF has entries of (tag, type, count, value), all little-endian."""
    directory = struct.pack("<4sIH", b"II*\0", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    return file_of(Image.fromarray(quadrants()), "JPEG", exif=b"Exif\0\0" + directory + bytes(4))


@pytest.mark.parametrize(
    ("entries", "is_turned"),
    [
        ([(0x112, 3, 1, 6)], True),
        ([(0x112, 4, 1, 6)], True),  # a LONG, not a SHORT as the standard has it
        ([(0x112, 3, 1, 6), (0x112, 3, 1, 1)], True),
        ([(0x112, 3, 1, 0)], False),
        ([(0x112, 3, 1, 9)], False),
        ([(0x112, 2, 1, 6)], False),
        ([(0x112, 3, 1000, 6)], False),
        ([(0x112, 99, 1, 6)], False),
        ([(0x112, 1, 1, 6)], True),
        ([(0x112, 9, 1, 6)], True),
        ([], False),
    ],
)
def test_size_and_pixels_agree_on_the_orientation(entries, is_turned):
    """Whatever EXIF says of it: one reader decides for both."""
    data = with_exif(*entries)
    reduced = images.decode_reduced(data, 4)
    assert images.decode(data).shape == ((60, 40, 3) if is_turned else (40, 60, 3))
    assert (reduced.full_width, reduced.full_height) == ((40, 60) if is_turned else (60, 40))
    assert reduced.pixels.shape == ((15, 10, 3) if is_turned else (10, 15, 3))


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


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_headers_are_refused_or_say_what_is_decoded(kind):
    """Many files, at most a dozen bytes of which were changed, taken out or put in where the header is."""
    random = np.random.default_rng(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(Image.fromarray(quadrants(36, 24)), kind, exif=exif)
    start = struct.unpack_from("<I", data, 4)[0] if kind == "TIFF" else 0
    decoded = 0
    for _ in range(200):
        mutated = bytearray(data)
        for _ in range(random.integers(1, 4)):
            at = start + random.integers(0, 150)
            mutated[at : at + random.integers(0, 5)] = random.bytes(random.integers(0, 5))
        try:
            photo = images.decode_reduced(bytes(mutated), 2)
        except InvalidImage:
            continue
        decoded += 1
        size = (-(-photo.full_height // photo.factor), -(-photo.full_width // photo.factor))
        assert photo.pixels.shape == (*size, 3) and photo.pixels.dtype == np.uint8
        assert photo.full_width * photo.full_height <= images.MAX_PIXELS
    assert decoded > 3


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
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, -height)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind in ("HEIF", "AVIF"):
        at = data.index(b"ispe")
        data[at + 8 : at + 16] = struct.pack(">II", width, height)
    elif kind == "WEBP":
        data[26:30] = struct.pack("<HH", width, height)
    else:
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<HHI", tag, 4 if struct.pack("<HH", tag, 4) in data else 3, 1))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(16_000, 15_000), (8001, 8000)])
def test_a_gigantic_size_is_refused(kind, size):
    """As too large, or where the format says the size twice, as broken."""
    with pytest.raises(InvalidImage if kind in ("WEBP", "HEIF") else ImageTooLarge):
        images.decode(claims(kind, *size))


def tiff(*entries: tuple[int, int, int]) -> bytes:
    """A TIFF file with entries of (tag, type, value), of which 100 x 100 grey pixels follow."""
    common = [(258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 400), (277, 3, 1), (278, 4, 100), (279, 4, 10_000)]
    entries = tuple(sorted([*entries, *common], key=lambda entry: entry[0]))
    directory = b"".join(struct.pack("<HHIi", tag, kind, 1, value) for tag, kind, value in entries)
    return (struct.pack("<4sIH", b"II*\0", 8, len(entries)) + directory).ljust(400, b"\0") + bytes(10_000)


def outcome(data: bytes) -> tuple[int, ...] | str:
    """The shape of the pixels, or why there are none."""
    try:
        return images.decode(data).shape
    except InvalidImage as err:
        return err.reason


@pytest.mark.parametrize("first", [100, 9000])
def test_a_tiff_that_tells_two_sizes_is_decoded_in_the_one_that_is_checked(first):
    data = tiff((256, 3, first), (256, 3, 9100 - first), (257, 3, 9000))
    assert outcome(data) in ("IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE", (9000, 100, 3))


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 9, 11, 17, 18])
def test_a_tiffs_size_of_any_type_is_the_one_that_is_decoded(kind):
    assert outcome(tiff((256, 3, 100), (257, 3, 100), (65_000, 99, 7))) == (100, 100, 3)
    assert outcome(tiff((256, kind, 20_000), (257, 3, 20_000))) in ("IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE")
    tiles = tiff((256, 3, 100), (257, 3, 100), (322, kind, 16_000), (323, kind, 16_000))
    assert outcome(tiles) in ("IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE", (100, 100, 3))


def test_a_pngs_texts_do_not_matter():
    """Not even one that Pillow takes for a bomb, or one whose checksum is wrong."""
    data = file_of(Image.fromarray(quadrants()), "PNG")
    text = b"zTXtComment\0\0" + zlib.compress(bytes(3_000_000))
    for checksum in (zlib.crc32(text), 0):
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", checksum)
        assert images.decode(data[:33] + chunk + data[33:]).shape == (40, 60, 3)


@pytest.mark.parametrize("flavour", [{"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_size_of_other_webp_flavours(flavour):
    assert images.decode(file_of(Image.fromarray(quadrants(123, 77)), "WEBP", **flavour)).shape == (77, 123, 3)


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\xff\xe0\0\2", b"\xff\xe1\xff\xff" + bytes(65_533)])
def test_endless_headers_are_refused(filler):
    with pytest.raises(InvalidImage):
        images.decode(b"\xff\xd8\xff\xe0\0\2" + filler * (10_000_000 // len(filler)))


@pytest.mark.parametrize(("shrink", "factor"), [(0.5, 1), (1.9, 1), (2, 2), (5, 4), (100, 8)])
def test_reduced_decoding_keeps_the_frame(shrink, factor):
    data = file_of(Image.fromarray(quadrants(611, 403)), "JPEG")
    photo = images.decode_reduced(data, shrink)
    assert photo.factor == factor and (photo.full_width, photo.full_height) == (611, 403)
    assert photo.pixels.shape[:2] == (-(-403 // factor), -(-611 // factor))
    assert images.decode_reduced(file_of(Image.fromarray(quadrants()), "PNG"), shrink).factor == 1


@pytest.mark.parametrize("encode", [images.encode_png, images.encode_bmp])
def test_lossless_round_trip(encode):
    pixels = np.random.default_rng(2).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    assert np.array_equal(images.decode(encode(pixels)), pixels)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_may_lack_its_end_but_nothing_of_its_picture(progressive):
    picture = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(picture), "JPEG", quality=90, progressive=progressive)
    whole = images.decode(data)
    for end in (b"", b"\xff", b"\0\0"):
        assert np.array_equal(images.decode(data[:-2] + end), whole)
    with pytest.raises(InvalidImage):
        images.decode(data[:-300])


def test_what_libjpeg_only_warns_of_is_read():
    data = file_of(Image.fromarray(quadrants()), "JPEG")
    assert np.array_equal(images.decode(data[:-2] + b"junk" + data[-2:]), images.decode(data))
    scan = data.index(b"\xff\xda")
    assert np.array_equal(images.decode(data[:scan] + b"junk" + data[scan:]), images.decode(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "HEIF", "AVIF"])
def test_transparency_shows_a_plain_grey_whatever_lies_under_it(kind):
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[:, :32] = 255, 0, 0, 255
    picture[:, 32:, :3] = np.random.default_rng(4).integers(0, 256, (64, 32, 3))
    pixels = images.decode(file_of(Image.fromarray(picture), kind)).astype(int)
    assert np.abs(pixels[:, 40:] - 190).max() <= 3
    assert np.abs(pixels[8:-8, 4:24] - (0, 0, 255)).max() <= 40


def test_half_transparent_pixels_are_mixed():
    picture = np.full((40, 40, 4), (255, 255, 255, 128), np.uint8)
    assert abs(int(images.decode(file_of(Image.fromarray(picture), "PNG"))[0, 0, 0]) - 223) <= 1


def test_of_a_gif_the_first_frame_is_read():
    frames = [Image.fromarray(np.full((40, 60), value, np.uint8)) for value in (10, 200)]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert abs(int(images.decode(data)[0, 0, 0]) - 10) <= 2


def test_a_pngs_exif_counts_wherever_it_stands():
    data = file_of(Image.fromarray(quadrants()), "PNG")
    exif = b"eXIf" + struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 0x112, 4, 1, 6, 0)
    chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    for at in (33, len(data) - 12):
        assert corner_names(images.decode(data[:at] + chunk + data[at:])) == ["blue", "red", "white", "green"]


def test_a_plain_bmp_is_read_as_pillow_reads_it():
    pixels = np.random.default_rng(6).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    data = bytearray(file_of(Image.fromarray(pixels), "BMP"))
    plain = images.decode(bytes(data))
    data[2:6] = bytes(4)  # a length that makes no sense: left to Pillow
    assert np.array_equal(images.decode(bytes(data)), plain) and np.array_equal(plain[..., ::-1], pixels)
