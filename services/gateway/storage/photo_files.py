"""A photo as it is stored: a PNG that carries the face's five landmarks in a text chunk, sealed where there is a key.

So its template can be made again without looking for the face.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from services.common.encryption import Keyring
from services.gateway.storage.types import FacePhoto

FACES = "faces"
AUGMENTED = "augmented_imgs"
LANDMARKS_KEYWORD = b"reco:landmarks"

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_END = 33  # signature and IHDR chunk


def place_of(name: str, augmented: bool) -> str:
    """The file's path in the person's folder."""
    return f"{AUGMENTED if augmented else FACES}/{name}"


def seal_photo(keyring: Keyring, folder: str, photo: FacePhoto) -> bytes:
    """The file of a photo in a person's folder."""
    return keyring.seal(_put_landmarks(photo), "photo", folder, photo.name)


def open_photo(keyring: Keyring, folder: str, name: str, augmented: bool, data: bytes) -> FacePhoto:
    """The photo of a file; raises CannotDecrypt."""
    png, landmarks = _take_landmarks(keyring.open(data, "photo", folder, name))
    return FacePhoto(name, augmented, png, landmarks)


def renew_photo(keyring: Keyring, folder: str, name: str, data: bytes) -> bytes | None:
    """The file sealed by the present key; None where it is already. Raises CannotDecrypt."""
    return keyring.renewed(data, "photo", folder, name)


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Photos at any depth, each by its path from there."""
    for path in sorted(folder.rglob("*.png")):
        yield path.relative_to(folder).as_posix(), path


def _put_landmarks(photo: FacePhoto) -> bytes:
    if photo.landmarks is None or not photo.png.startswith(PNG_SIGNATURE):
        return photo.png
    rounded = [[round(x, 3), round(y, 3)] for x, y in photo.landmarks]
    body = b"tEXt" + LANDMARKS_KEYWORD + b"\0" + json.dumps(rounded).encode("ascii")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return photo.png[:PNG_HEADER_END] + chunk + photo.png[PNG_HEADER_END:]


def _take_landmarks(data: bytes) -> tuple[bytes, tuple[tuple[float, float], ...] | None]:
    keyword = data[PNG_HEADER_END + 8 : PNG_HEADER_END + 8 + len(LANDMARKS_KEYWORD) + 1]
    if keyword != LANDMARKS_KEYWORD + b"\0":
        return data, None
    (length,) = struct.unpack(">I", data[PNG_HEADER_END : PNG_HEADER_END + 4])
    end = PNG_HEADER_END + 8 + length
    try:
        points = tuple((float(x), float(y)) for x, y in json.loads(data[PNG_HEADER_END + 8 + len(keyword) : end]))
    except (ValueError, TypeError):
        return data, None
    return data[:PNG_HEADER_END] + data[end + 4 :], points if len(points) == 5 else None
