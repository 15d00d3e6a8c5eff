"""HTML forms, from clients that nobody vouches for."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote_to_bytes

from python_multipart.decoders import QuotedPrintableDecoder
from python_multipart.multipart import parse_options_header

from services.common.errors import RecoError
from services.common.limits import MAX_BODY_BYTES, MAX_FORM_BYTES
from services.gateway.api.form_stream import Head, MalformedForm, read_multipart, read_urlencoded
from services.gateway.api.form_values import Base64, Escaped, Plain, Text, Value
from services.gateway.errors import TooManyPhotos
from services.gateway.pipeline.upload import NamedPhoto

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"


#: Charsets that forms may be in, as the web names them: those in which ASCII is what it is.
CHARSETS = frozenset(
    (
        *("utf-8", "utf8", "us-ascii", "ascii", "latin1", "koi8-r", "koi8-u"),
        *("gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr"),
        *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
        *(f"windows-{page}" for page in range(1250, 1259)),
    )
)


class FormTooLarge(RecoError):
    """The body is larger than the limit."""

    status = "OUT_OF_RANGE"
    reason = "BODY_TOO_LARGE"


def within_limit(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Passes a body's pieces on; raises FormTooLarge once they are more than MAX_BODY_BYTES, and ends."""
    remaining = MAX_BODY_BYTES
    for piece in pieces:
        remaining -= len(piece)
        if remaining < 0:
            raise FormTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
        yield piece


def read_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of an urlencoded form; the first of several with one name counts.

    Bytes that the form's charset does not have come out as U+FFFD.

    Returns:
        An empty dict where the body is no such form, or is empty, too large, broken or of a charset that is not known.
    """
    kind, options = content_type_of(content_type)
    if kind != URLENCODED or len(body) > MAX_FORM_BYTES:
        return {}
    found: list[tuple[bytes, Plain]] = []

    def open_field(name: bytes) -> Plain:
        found.append((_unescaped(name), Plain()))
        return found[-1][1]

    try:
        read_urlencoded([body], open_field)
        first: dict[bytes, bytes] = {}
        for name, value in found:
            first.setdefault(name, _unescaped(value.content()))
        charset = _charset(options.get(b"charset") or first.get(b"_charset_"))
        return {_text(name, charset): _text(value, charset) for name, value in first.items() if name}
    except (MalformedForm, TooManyPhotos):
        return {}


def read_photos(content_type: str, pieces: Iterable[bytes]) -> list[NamedPhoto]:
    """The photos of an upload form: files of a multipart form, and text fields of base64 or data URLs.

    Beside files only those text fields count that are data URLs.

    Returns:
        Photos under names that are unique; none where the body is no form or a broken one.

    Raises:
        BrokenBase64: a text field that counts holds neither base64 nor a data URL.
        TooManyPhotos: the form has more parts than anybody may send.
    """
    kind, options = content_type_of(content_type)
    try:
        photos = _Photos(_charset(options.get(b"charset")))
        if kind == MULTIPART:
            read_multipart(options.get(b"boundary", b""), pieces, photos.open_part)
        elif kind == URLENCODED:
            read_urlencoded(pieces, photos.open_field)
    except MalformedForm:
        return []
    named = photos.named()
    names = _unique([name for name, _ in named])
    return [NamedPhoto(name, data) for name, (_, data) in zip(names, named, strict=True)]


class _Photos:
    """Collects files and text fields."""

    def __init__(self, charset: str):
        self._charset = charset
        self._files: list[tuple[str, Plain | Base64]] = []
        self._texts: list[tuple[str, Text]] = []

    def open_field(self, name: bytes) -> Value:
        """A field of an urlencoded form."""
        return Escaped(self._new_text(_unescaped(name)))

    def open_part(self, head: Head) -> Value:
        """A part of a multipart form."""
        if head.file_name is None:
            value: Plain | Base64 = self._new_text(head.name)
        else:
            value = Base64() if head.encoding == b"base64" else Plain()
            self._files.append((_text(head.file_name, self._charset), value))
        return QuotedPrintable(value) if head.encoding == b"quoted-printable" else value

    def named(self) -> list[tuple[str, bytes]]:
        """Names and bytes, files first; raises BrokenBase64."""
        files = [(name, value.content()) for name, value in self._files if value.whole]
        files = [(_base_name(name), data) for name, data in files if name or data]
        texts = [(name, text) for name, text in self._texts if text.whole and not text.empty]
        if files:
            texts = [(name, text) for name, text in texts if text.is_url]
        return files + [(_base_name(name), text.content()) for name, text in texts]

    def _new_text(self, name: bytes) -> Text:
        self._texts.append((_text(name, self._charset), Text()))
        return self._texts[-1][1]


class QuotedPrintable:
    """Takes a part that is sent as quoted-printable."""

    def __init__(self, value: Value):
        self._value = value
        self._decoder = QuotedPrintableDecoder(value)

    def write(self, data: bytes) -> None:
        self._decoder.write(data)

    def close(self) -> None:
        self._decoder.finalize()
        self._value.close()


def content_type_of(text: str) -> tuple[str, dict[bytes, bytes]]:
    """The kind of a body, in lower case, and its options (boundary, charset) as they were sent."""
    kind, options = parse_options_header(text.encode())
    return kind.decode("latin-1").strip(), options


def _charset(declared: bytes | None) -> str:
    """The name of a charset, UTF-8 where none was declared; raises MalformedForm where it is not one of CHARSETS."""
    name = (declared or b"utf-8").decode("latin-1").strip().lower()
    if name not in CHARSETS:
        raise MalformedForm("the form's charset is unknown")
    return name


def _unescaped(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _text(raw: bytes, charset: str) -> str:
    return raw.decode(charset, "replace")


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
