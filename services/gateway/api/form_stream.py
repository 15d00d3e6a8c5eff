"""Reads forms as their bodies come in, in bounded memory and time whatever they hold.

python-multipart's parsers do it. They take some input byte by byte, which a hostile body may consist of: that is looked
for beforehand, and dropped or refused.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, QuerystringParser, parse_options_header

from services.common.errors import RecoError
from services.gateway.api.form_values import Value
from services.gateway.errors import TooManyPhotos

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Parts or fields of one form.
MAX_PARTS = 1000

#: Bytes of a field's name that are kept.
MAX_NAME = 1024

#: Bytes parsed at a time.
STEP = 64 * 1024

#: Blanks that may follow a boundary.
MAX_PADDING = 256
PADDING = re.compile(rb"[ \t]{%d}" % MAX_PADDING)


class MalformedForm(RecoError):
    """The body is not the form that its content type says."""

    status = "INVALID_ARGUMENT"
    reason = "FORM_MALFORMED"


@dataclass(frozen=True)
class Head:
    """What a part of a multipart form says of itself; `file_name` is None where it is no file."""

    name: bytes
    file_name: bytes | None
    encoding: bytes


def read_urlencoded(pieces: Iterable[bytes], open_field: Callable[[bytes], Value]) -> None:
    """Reads an urlencoded form; names and values are handed on with their escapes.

    Args:
        open_field: is told the name of each field that has a value, and takes the value.

    Raises:
        TooManyPhotos: more than MAX_PARTS fields.
    """
    form = _Fields(open_field)
    parser = QuerystringParser(
        {
            "on_field_start": form.start,
            "on_field_name": form.name,
            "on_field_data": form.data,
            "on_field_end": form.end,
        }
    )
    for step in _steps(pieces):
        parser.write(re.sub(rb"&{2,}", b"&", step) if b"&&" in step else step)
    parser.finalize()


def read_multipart(boundary: bytes, pieces: Iterable[bytes], open_part: Callable[[Head], Value]) -> None:
    """Reads a multipart form; what comes before its first boundary and after its last is passed over.

    Args:
        open_part: is told the head of each part, and takes what it holds; a part that is cut off is not closed.

    Raises:
        MalformedForm, and TooManyPhotos: more than MAX_PARTS parts.
    """
    if not boundary:
        raise MalformedForm("the form's boundary is missing")
    form, guard = _Parts(open_part), _Guard(boundary)
    callbacks: MultipartCallbacks = {
        "on_part_begin": form.begin,
        "on_header_field": form.header_field,
        "on_header_value": form.header_value,
        "on_header_end": form.header_end,
        "on_headers_finished": form.open,
        "on_part_data": form.data,
        "on_part_end": form.end,
    }
    try:
        parser = MultipartParser(boundary, callbacks)
        for step in _steps(_from_first_boundary(boundary, pieces)):
            guard.check(step, parser.state)
            parser.write(step)
    except FormParserError as err:
        raise MalformedForm(str(err) or "the form is broken") from err


class _Guard:
    """Finds what MultipartParser would take byte by byte: boundaries within parts, and blanks after a boundary."""

    def __init__(self, boundary: bytes):
        self._delimiter = b"\r\n--" + boundary
        self._delimiters = self._padding = 0

    def check(self, step: bytes, state: MultipartState) -> None:
        """Raises MalformedForm or TooManyPhotos where a parser in this state should not be given the step."""
        ends = list(self._ends(step))
        self._delimiters += len(ends)
        if self._delimiters > MAX_PARTS + 1:
            raise TooManyPhotos(f"a form may have at most {MAX_PARTS} parts")
        self._padding += len(step) if state == MultipartState.BOUNDARY_PADDING else 0
        if self._padding > STEP or any(PADDING.match(step, end) for end in ends):
            raise MalformedForm("blanks after a boundary")

    def _ends(self, step: bytes) -> Iterator[int]:
        """Where the delimiters of a step end."""
        at = step.find(self._delimiter)
        while at >= 0:
            at += len(self._delimiter)
            yield at
            at = step.find(self._delimiter, at)


class _Fields:
    """What QuerystringParser calls."""

    def __init__(self, open_field: Callable[[bytes], Value]):
        self._open = open_field
        self._count = 0
        self._name = b""
        self._value: Value | None = None

    def start(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise TooManyPhotos(f"a form may have at most {MAX_PARTS} fields")
        self._name, self._value = b"", None

    def name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start : min(end, start + MAX_NAME - len(self._name))]

    def data(self, data: bytes, start: int, end: int) -> None:
        self._value = self._value or self._open(self._name)
        self._value.write(data[start:end])

    def end(self) -> None:
        (self._value or self._open(self._name)).close()


class _Parts:
    """What MultipartParser calls; it bounds the number and the size of a part's headers."""

    def __init__(self, open_part: Callable[[Head], Value]):
        self._open = open_part
        self._count = 0
        self._headers: dict[bytes, bytes] = {}
        self._field = self._content = b""
        self._value: Value

    def begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise TooManyPhotos(f"a form may have at most {MAX_PARTS} parts")
        self._headers.clear()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def header_end(self) -> None:
        self._headers.setdefault(self._field.lower(), self._content.strip(b" \t"))
        self._field = self._content = b""

    def open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        encoding = self._headers.get(b"content-transfer-encoding", b"").lower()
        self._value = self._open(Head(options.get(b"name", b""), options.get(b"filename"), encoding))

    def data(self, data: bytes, start: int, end: int) -> None:
        self._value.write(data[start:end])

    def end(self) -> None:
        self._value.close()


def _steps(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), STEP):
            yield piece[start : start + STEP]


def _from_first_boundary(boundary: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The body from its first boundary on."""
    wanted, seen, found = b"\n--" + boundary, b"\n", False
    for piece in pieces:
        if found:
            yield piece
            continue
        seen += piece
        start = seen.find(wanted)
        if start >= 0:
            found = True
            yield seen[start + 1 :]
        seen = seen[-len(wanted) :]
