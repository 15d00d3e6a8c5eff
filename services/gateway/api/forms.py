"""HTML forms, from clients that nobody vouches for."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from services.common.errors import RecoError
from services.common.limits import MAX_BODY_BYTES, MAX_FORM_BYTES
from services.gateway.pipeline.upload import NamedPhoto

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

#: Parts of one form.
MAX_PARTS = 1000


class FormTooLarge(RecoError):
    """The body is larger than the limit."""

    status = "OUT_OF_RANGE"
    reason = "BODY_TOO_LARGE"


class MalformedForm(RecoError):
    """The body is not the form that its content type says."""

    status = "INVALID_ARGUMENT"
    reason = "FORM_MALFORMED"


class BrokenBase64(RecoError):
    """A text field is neither base64 nor a data URL."""

    status = "INVALID_ARGUMENT"
    reason = "BASE64_BROKEN"


class _Collector:
    """Takes what the parser finds; refuses when there is too much of it."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, bytes]] = []
        self.files: list[tuple[str, bytes]] = []

    def field(self, field: Field) -> None:
        self._count()
        self.fields.append((_text(field.field_name), field.value or b""))

    def file(self, file: File) -> None:
        self._count()
        file.file_object.seek(0)
        self.files.append((_text(file.file_name), file.file_object.read()))
        file.close()

    def _count(self) -> None:
        if len(self.fields) + len(self.files) >= MAX_PARTS:
            raise MalformedForm(f"a form may have at most {MAX_PARTS} parts")


def within_limit(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Passes a body's pieces on; raises FormTooLarge once they are more than MAX_BODY_BYTES, and ends."""
    remaining = MAX_BODY_BYTES
    for piece in pieces:
        remaining -= len(piece)
        if remaining < 0:
            raise FormTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
        yield piece


def _parse(content_type: str, pieces: Iterable[bytes]) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Files and fields of a form; none where the content type is no form's."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == MULTIPART:
        found = _parse_multipart(content_type, pieces)
        return found.files, found.fields
    return [], _parse_urlencoded(b"".join(pieces)) if kind == URLENCODED else []


def _parse_urlencoded(body: bytes) -> list[tuple[str, bytes]]:
    try:
        pairs = parse_qsl(_text(body), keep_blank_values=True, max_num_fields=MAX_PARTS)
    except ValueError as err:
        raise MalformedForm(str(err)) from err
    return [(name, value.encode()) for name, value in pairs]


def _parse_multipart(content_type: str, pieces: Iterable[bytes]) -> _Collector:
    """Parses a multipart form as its body comes in."""
    _, options = parse_options_header(content_type)
    found = _Collector()
    config = {"MAX_MEMORY_FILE_SIZE": MAX_BODY_BYTES}
    boundary = options.get(b"boundary")
    try:
        parser = FormParser(MULTIPART, found.field, found.file, boundary=boundary, config=config)
        for piece in pieces:
            parser.write(piece)
        parser.finalize()
    except (FormParserError, ValueError, AssertionError) as err:
        raise MalformedForm(str(err) or "the form is broken") from err
    return found


def read_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of an urlencoded form; the last of several with one name counts.

    Returns:
        An empty dict where the body is no such form, or is empty, too large or broken.
    """
    if content_type.partition(";")[0].strip().lower() != URLENCODED or len(body) > MAX_FORM_BYTES:
        return {}
    try:
        return {name: _text(value) for name, value in _parse_urlencoded(body) if name}
    except MalformedForm:
        return {}


def read_photos(content_type: str, pieces: Iterable[bytes]) -> list[NamedPhoto]:
    """The photos of an upload form: files of a multipart form, and text fields of base64 or data URLs.

    Returns:
        Photos under names that are unique; none where the body is no form or a broken one.

    Raises:
        BrokenBase64: a text field holds neither base64 nor a data URL.
    """
    try:
        files, fields = _parse(content_type, pieces)
    except MalformedForm:
        return []
    named = [(_base_name(name), data) for name, data in files if name or data]
    named += [(_base_name(name), _from_base64(value)) for name, value in fields if value]
    names = _unique([name for name, _ in named])
    return [NamedPhoto(name, data) for name, (_, data) in zip(names, named, strict=True)]


def _from_base64(value: bytes) -> bytes:
    """Bytes of base64 or a `data:…;base64,…` URL. A `+` that an urlencoded form has turned into a space is taken back."""
    if value.startswith(b"data:"):
        head, comma, value = value.partition(b",")
        if not comma or b";base64" not in head:
            raise BrokenBase64("a data URL must be base64")
    compact = value.replace(b"\t", b"").replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"+")
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError) as err:
        raise BrokenBase64("a text field is neither base64 nor a data URL") from err


def _base_name(name: str) -> str:
    """A file name without folders and control characters, at most 120 characters."""
    base = PureWindowsPath(PurePosixPath(name).name).name
    return "".join(char for char in base if char.isprintable())[:120] or "photo"


def _unique(names: list[str]) -> list[str]:
    """Names in order, later ones of a kind with a suffix: a.jpg, a_2.jpg."""
    taken: dict[str, None] = {}
    for name in names:
        stem, dot, extension = name.rpartition(".") if "." in name else (name, "", "")
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{stem}_{number}{dot}{extension}"
        taken[candidate] = None
    return list(taken)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
