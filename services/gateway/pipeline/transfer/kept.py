"""What one installation says of a person to another, and whether it fits there."""

import re
import struct
import zlib
from dataclasses import dataclass
from hashlib import sha256

from services.gateway.errors import InvalidField
from services.gateway.pipeline.directory import PNG
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.profile import check_display_name, check_external_id, check_labels
from services.gateway.stages.types import FaceTemplate
from services.gateway.storage.profiles import PhotoFacts, Profile
from services.gateway.storage.types import FacePhoto, Workspace

#: Of a picture; faces are kept in a few hundred pixels.
MAX_IMAGE_BYTES = 4 << 20

#: Names of photos that are kept as they are; others are derived from what they were.
PHOTO_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
AUGMENTED = re.compile(r"(?P<of>.*?)(?P<number>-aug\d{1,4})?", re.DOTALL)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class KeptPhoto:
    """A photo with what is known of it; `facts` of one that is not augmented."""

    photo: FacePhoto
    facts: PhotoFacts | None = None
    templates: tuple[FaceTemplate, ...] = ()


@dataclass(frozen=True)
class KeptPerson:
    """A person with photos: all, or of somebody with many a part."""

    profile: Profile
    photos: tuple[KeptPhoto, ...]


def check_person(workspace: Workspace, person: KeptPerson) -> None:
    """Raises InvalidRequest where something of a person does not fit here."""
    profile = person.profile
    check_person_id(profile.person_id, workspace.env.id_regex)
    check_display_name("display_name", profile.display_name)
    check_external_id("external_id", profile.external_id)
    check_labels("labels", profile.labels)
    for one in person.photos:
        if len(one.photo.png) > MAX_IMAGE_BYTES or not _is_png(one.photo.png):
            raise InvalidField("photos", f"{one.photo.name}: it is no whole PNG file of at most 4 MiB")


def name_here(one: KeptPhoto) -> str:
    """The file's name here: as it was, or else one that is always derived from what it was."""
    match = AUGMENTED.fullmatch(one.photo.name.removesuffix(PNG))
    assert match
    stem, number = match["of"], match["number"] or ""
    if not PHOTO_ID.fullmatch(stem):
        stem = f"{sha256(stem.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}-001"
    return f"{stem}{number}{PNG}"


def _is_png(data: bytes) -> bool:
    """Whether a file is a PNG whose chunks are all there and whole; what is in them is seen when it is decoded."""
    if not data.startswith(PNG_SIGNATURE):
        return False
    place, kind = len(PNG_SIGNATURE), b""
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(data) or struct.unpack_from(">I", data, end) != (zlib.crc32(data[place + 4 : end]),):
            return False
        place = end + 4
    return kind == b"IEND" and place == len(data)
