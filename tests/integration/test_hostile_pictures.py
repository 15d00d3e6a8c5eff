"""No picture's file costs more than 500 MB and 3 s of a processor, whatever it claims and whatever library reads it."""

import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from services.common.errors import InvalidImage
from services.images import bounded
from services.images import decode as images
from services.images.process import MAX_BYTES, MAX_SECONDS

#: What starting a process takes, before it is given a picture.
START_BYTES, START_SECONDS = 60_000_000, 0.6

SIDE = 8000  # 64 million pixels


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test's processes are its own."""
    bounded.decoders().close()
    yield
    bounded.decoders().close()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """So many zeros, compressed."""
    packer = zlib.compressobj(1)
    block = bytes(1 << 20)
    pieces = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join(pieces) + packer.compress(bytes(size & 0xFFFFF)) + packer.flush()


def png_of_64_megapixels(depth: int = 8, colour: int = 2, channels: int = 3) -> bytes:
    return png(SIDE, SIDE, chunk(b"IDAT", zeros(SIDE * (SIDE * channels * depth // 8 + 1))), depth=depth, colour=colour)


def png_claiming_a_chunk() -> bytes:
    return png(8, 8)[:33] + struct.pack(">I4s", 2**31 - 1, b"IDAT") + bytes(16)


def png_of_profiles() -> bytes:
    """4,000 profiles, each of which unpacks to a megabyte."""
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_000_000)))
    return png(8, 8, *[profile] * 4000, chunk(b"IDAT", zlib.compress(bytes(200))))


def png_of_tiny_chunks() -> bytes:
    return png(8, 8, chunk(b"IDAT", b"") * 5_000_000)


def jpeg_of_scans() -> bytes:
    """A progressive picture of 62 megapixels in 20,000 scans, each of which refines nothing."""
    tables = b"\xff\xdb\0\x43\0" + b"\x01" * 64 + b"\xff\xc4\0\x14\x10" + bytes([1]) + bytes(15) + b"\xe0"
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", 7900, 8000) + b"\x01\x01\x11\0"
    dc = b"\xff\xc4\0\x14\0" + bytes([1]) + bytes(15) + b"\0" + b"\xff\xda\0\x08\x01\x01\0\0\0\0" + bytes(123_438)
    scan = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0" + bytes(60)
    return b"\xff\xd8" + tables + frame + dc + scan * 20_000 + b"\xff\xd9"


def jpeg_of_segments() -> bytes:
    return b"\xff\xd8" + b"\xff\xe0\0\2" * 15_000_000


def jpeg_of_64_megapixels(**options: bool | int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (200, 100, 50)).save(file, "JPEG", **options)
    return file.getvalue()


def jpeg_of_one_scan_of_several() -> bytes:
    """A progressive picture of 64 megapixels that ends after its first scan: it is held whole all the same."""
    data = jpeg_of_64_megapixels(progressive=True, subsampling=0)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    return data[: data.rindex(b"\xff\xc4", 0, second)] + b"\xff\xd9"


def jpeg_in_cmyk() -> bytes:
    file = io.BytesIO()
    Image.new("CMYK", (SIDE, SIDE)).save(file, "JPEG")
    return file.getvalue()


def tiff_of_pages() -> bytes:
    """Two million pages."""
    pages = b"".join(struct.pack("<HI", 0, 14 + 6 * page) for page in range(2_000_000))
    return struct.pack("<4sI", b"II*\0", 8) + pages


def heif_that_claims() -> bytes:
    file = io.BytesIO()
    register_heif_opener()
    Image.new("RGB", (64, 64)).save(file, "HEIF")
    data = bytearray(file.getvalue())
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 60_000, 60_000)
    return bytes(data)


def avif_that_claims() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "AVIF")
    data = bytearray(file.getvalue())
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 60_000, 60_000)
    return bytes(data)


def webp_of_64_megapixels() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(file, "WEBP", lossless=True, method=0)
    return file.getvalue()


def tiff(*entries: tuple[int, int, int, int], size: int = 400) -> bytes:
    """A TIFF's first directory: (tag, type, number, value), then zeros."""
    listed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (struct.pack("<4sIH", b"II*\0", 8, len(entries)) + listed).ljust(size, b"\0")


PLAIN = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]


def tiff_of_tiles() -> bytes:
    size = [(256, 3, 1, 100), (257, 3, 1, 100), (322, 9, 1, 16_000), (323, 9, 1, 16_000)]
    return tiff(*size, *PLAIN, (324, 4, 1, 400), (325, 4, 1, 100))


def tiff_of_strips() -> bytes:
    """60 million strips of a picture that is one pixel wide."""
    size = [(256, 4, 1, 1), (257, 4, 1, 60_000_000), (278, 4, 1, 1)]
    return tiff(*size, *PLAIN, (273, 4, 15_000_000, 400), (279, 4, 15_000_000, 400), size=60_000_400)


def tiff_of_rationals() -> bytes:
    """Thousands of entries that share 13 MB of fractions, of EXIF's and other tags."""
    size = [(256, 3, 1, 8), (257, 3, 1, 8), (273, 4, 1, 400), (278, 4, 1, 8), (279, 4, 1, 64)]
    many = [(tag, 5, 1_600_000, 0) for tag in range(33_000, 35_000)]
    return tiff(*size, *PLAIN, *many, size=13_000_000)


def webp_of_exif() -> bytes:
    """Whose EXIF is 13 MB of fractions."""
    file = io.BytesIO()
    directory = struct.pack("<4sIH", b"II*\0", 8, 2000)
    entries = b"".join(struct.pack("<HHII", tag, 5, 1_600_000, 0) for tag in range(33_000, 35_000))
    exif = b"Exif\0\0" + (directory + entries).ljust(13_000_000, b"\0")
    Image.new("RGB", (8, 8)).save(file, "WEBP", exif=exif)
    return file.getvalue()


def gif_of_a_gigantic_screen() -> bytes:
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF")
    return b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + file.getvalue()[10:]


def bmp_of_runs() -> bytes:
    """60 MB of line ends in a picture of 64 megapixels."""
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 1078, 40, SIDE, SIDE, 1, 8, 1, 0, 0, 0, 256, 0)
    return head + bytes(1024) + bytes(60_000_000)


def bmp_of_fine_runs() -> bytes:
    return bmp_of_runs()[:12_000_000].replace(struct.pack("<ii", SIDE, SIDE), struct.pack("<ii", 1990, 1990))


HOSTILE: list[Callable[[], bytes]] = [
    png_claiming_a_chunk,
    png_of_64_megapixels,
    lambda: png_of_64_megapixels(depth=16, colour=6, channels=4),
    png_of_profiles,
    png_of_tiny_chunks,
    jpeg_of_scans,
    jpeg_of_segments,
    jpeg_of_64_megapixels,
    lambda: jpeg_of_64_megapixels(progressive=True, subsampling=0),
    lambda: jpeg_of_64_megapixels()[:-2] + b"junk" + jpeg_of_64_megapixels()[-2:],
    jpeg_of_one_scan_of_several,
    jpeg_in_cmyk,
    heif_that_claims,
    avif_that_claims,
    webp_of_64_megapixels,
    tiff_of_pages,
    tiff_of_tiles,
    tiff_of_strips,
    tiff_of_rationals,
    webp_of_exif,
    gif_of_a_gigantic_screen,
    bmp_of_runs,
    bmp_of_fine_runs,
]


class Meter:
    """What this process and its children take."""

    def memory(self) -> int:
        """Bytes; what they share is counted once."""
        taken = [self._read(pid) for pid in (os.getpid(), *self._children())]
        anonymous = sum(one.get("RssAnon", 0) for one in taken)
        return 1024 * (anonymous + max(one.get("RssShmem", 0) for one in taken))

    @staticmethod
    def _read(pid: int) -> dict[str, int]:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            fields = (line.partition(":") for line in lines if line.startswith("Rss"))
            return {name: int(value.split()[0]) for name, _, value in fields}
        return {}

    @staticmethod
    def _children() -> Iterator[int]:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid():
                    yield int(path.parent.name)


@dataclass(frozen=True)
class Cost:
    """What decoding came to: the pixels' shape, or why there are none; seconds of a processor."""

    outcome: str
    seconds: float


def cost_of(data: bytes) -> Cost:
    """Decodes, and waits for the processes that did to end."""
    before = time.thread_time() + sum(os.times()[2:4])
    try:
        outcome = str(images.decode(data).shape)
    except InvalidImage as err:
        outcome = err.reason
    bounded.decoders().close()
    return Cost(outcome, time.thread_time() + sum(os.times()[2:4]) - before)


@pytest.mark.parametrize("make", HOSTILE)
def test_no_file_costs_more_than_its_bounds(make: Callable[[], bytes]):
    data, meter = make(), Meter()
    peak = before = meter.memory()
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(cost_of, data)
        while not done.done():
            peak = max(peak, meter.memory())
            time.sleep(0.02)
    cost = done.result()
    print(f"\n{cost.outcome}: {(peak - before) / 1e6:.0f} MB, {cost.seconds:.2f} s")
    assert peak - before <= MAX_BYTES + START_BYTES
    assert cost.seconds <= MAX_SECONDS + START_SECONDS
