"""What becomes of the values of an upload form as they come in, piece by piece: no value is in memory twice."""

import binascii
import re
from io import BytesIO
from typing import Protocol

from services.common.errors import RecoError

#: Bytes before the comma of a data URL.
MAX_URL_HEAD = 1024

#: Base64 as it is sent in lines, with the alphabet of URLs, and by forms that have turned a `+` into a space.
SAME_LETTERS, BETWEEN_LINES = bytes.maketrans(b"-_ ", b"+/+"), b"\t\r\n"

BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class BrokenBase64(RecoError):
    """A text field is neither base64 nor a data URL."""

    status = "INVALID_ARGUMENT"
    reason = "BASE64_BROKEN"


class Value(Protocol):
    """Takes the value of a field or part."""

    def write(self, data: bytes) -> object:
        """Takes the next bytes."""

    def close(self) -> None:
        """The value is whole."""


class Plain:
    """A value as it is."""

    def __init__(self) -> None:
        self._taken = BytesIO()
        self.whole = False

    def write(self, data: bytes) -> None:
        self._taken.write(data)

    def close(self) -> None:
        self.whole = True

    def content(self) -> bytes:
        """What was taken; not a copy of it."""
        return self._taken.getvalue()


class Base64:
    """Bytes that are sent as base64, or that cannot be read as such: in lines or in one, padded or not."""

    def __init__(self) -> None:
        self._taken = BytesIO()
        self._rest = b""  # fewer than four letters
        self._padding = 0
        self._fresh = True  # a blank in front is none that was a `+`
        self.whole = False
        self.broken = False

    def write(self, data: bytes) -> None:
        if self._fresh:
            data = data.lstrip()
            self._fresh = not data
        if self.broken:
            return
        letters, mark, padding = data.translate(SAME_LETTERS, BETWEEN_LINES).partition(b"=")
        if (letters and self._padding) or padding.strip(b"="):
            self._give_up()
            return
        self._padding += len(mark) + len(padding)
        letters = self._rest + letters
        end = len(letters) // 4 * 4
        self._rest = letters[end:]
        self._decode(letters[:end])

    def close(self) -> None:
        """The value is whole; where it is broken nothing is left of it."""
        letters = len(self._rest)
        if letters == 1 or (self._padding and (self._padding > 2 or (letters + self._padding) % 4)):
            self._give_up()
        elif letters:
            self._decode(self._rest + b"=" * (4 - letters))
        self.whole = True

    def content(self) -> bytes:
        """Raises BrokenBase64."""
        if self.broken:
            raise BrokenBase64("a text field is neither base64 nor a data URL")
        return self._taken.getvalue()

    def _decode(self, letters: bytes) -> None:
        try:
            self._taken.write(binascii.a2b_base64(letters, strict_mode=True))
        except binascii.Error:
            self._give_up()

    def _give_up(self) -> None:
        self.broken = True
        self._taken = BytesIO()


class Text(Base64):
    """A text field: base64, or a `data:…;base64,…` URL."""

    def __init__(self) -> None:
        super().__init__()
        self._head: bytes | None = b""  # until it is known which of both it is
        self.is_url = False
        self.empty = True

    def write(self, data: bytes) -> None:
        self.empty = self.empty and not data
        if self._head is None:
            super().write(data)
            return
        self._head += data
        start = self._head.lstrip()
        if len(start) < len(b"data:"):
            if len(self._head) > MAX_URL_HEAD:
                self._give_up()
            return
        if start[:5].lower() != b"data:":
            self._begin(start)
        else:
            self._read_url(start)

    def close(self) -> None:
        if self._head is not None:
            if self.is_url:
                self._give_up()
            else:
                self._begin(self._head.strip())
        super().close()

    def _read_url(self, start: bytes) -> None:
        self.is_url = True
        about, comma, letters = start.partition(b",")
        if comma and b";base64" in about[:MAX_URL_HEAD].lower():
            self._begin(letters)
        elif comma or len(about) > MAX_URL_HEAD:
            self._give_up()

    def _begin(self, letters: bytes) -> None:
        self._head = None
        super().write(letters)

    def _give_up(self) -> None:
        super()._give_up()
        self._head = None


class Escaped:
    """Takes a value of an urlencoded form, and hands it on without its escapes (%41); a `+` stays one."""

    def __init__(self, value: Base64):
        self._value = value
        self._rest = b""  # an escape that is not all there

    def write(self, data: bytes) -> None:
        if self._value.broken:
            return
        data = self._rest + data
        begun = data.rfind(b"%", max(0, len(data) - 2))
        self._rest = data[begun:] if begun >= 0 else b""
        self._hand_on(data[:begun] if begun >= 0 else data)

    def close(self) -> None:
        self._hand_on(self._rest)
        self._value.close()

    def _hand_on(self, data: bytes) -> None:
        if BROKEN_ESCAPE.search(data):
            data = b"%"  # is in no base64
        elif b"%" in data:  # which are the escapes of quoted-printable with another sign: decoded at once
            data = binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))
        self._value.write(data)
