"""Bodies of forms, of the legacy endpoints: multipart, urlencoded, and what clients make of them."""

import base64
import urllib.parse
from collections.abc import Mapping, Sequence

from google.api import httpbody_pb2
from hypothesis import strategies as st

from services.gateway.api.rest import UPLOAD_DB_KEYS, VERIFY_KEYS
from tests.fuzz import pictures, world
from tests.fuzz.edits import chosen, edited

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary="
BOUNDARY = "x7f"

ODD_TYPES = (
    "",
    "text/plain",
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    f"{MULTIPART}{'b' * 5000}",
    f'multipart/form-data; boundary="{BOUNDARY}"; charset=utf-7',
    f"multipart/mixed; boundary={BOUNDARY}",
    f"{URLENCODED}; charset=utf-16",
    f"{URLENCODED}; charset=latin-1",
    f"{URLENCODED}; charset=gb18030",
    f"{URLENCODED}; charset=\x00",
    "é/\xff",
    "MULTIPART/FORM-DATA; BOUNDARY=x7f; boundary=other",
)
ODD_HEADS = (
    'Content-Disposition: form-data; name="a"',
    'Content-Disposition: form-data; name="a"; filename=""',
    "Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''%ff%00%2e%2e%2fa",
    'Content-Disposition: form-data; name="_charset_"',
    'Content-Disposition: attachment; filename="..\\..\\a"',
    "Content-Disposition: form-data",
    "X: " + "y" * 9000,
    'Content-Disposition: form-data; name="a"; filename="a"\r\nContent-Transfer-Encoding: base64',
    'Content-Disposition: form-data; name="a"; filename="a"\r\nContent-Transfer-Encoding: quoted-printable',
    "",
)
ODD_VALUES = ("", "true", "TRUE ", "0", "\0", "é", "%", "x" * 3000, "\ufffd", "../..", "&=&", "+ +")


def http_bodies(photo: st.SearchStrategy[bytes]) -> st.SearchStrategy[httpbody_pb2.HttpBody]:
    """Forms as messages."""
    return bodies(photo).map(lambda pair: httpbody_pb2.HttpBody(content_type=pair[0], data=pair[1]))


def bodies(photo: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Content types and bodies; mostly those that suit some endpoint."""
    right = st.one_of(uploads(photo), upload_db(), verify())
    return st.one_of(right, right, broken(right))


def broken(right: st.SearchStrategy[tuple[str, bytes]]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Forms with the type or the bytes changed."""
    other_type = st.tuples(chosen(ODD_TYPES), right.map(lambda pair: pair[1]))
    other_bytes = right.flatmap(lambda pair: st.tuples(st.just(pair[0]), edited(st.just(pair[1]))))
    many = chosen((b"a=&" * 5000, b"%", b"=" * 1000, b"\xff" * 70_000, b""))
    return st.one_of(other_type, other_bytes, st.tuples(st.sampled_from((URLENCODED, f"{MULTIPART}x7f")), many))


def uploads(photo: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Photos as files, or as base64 in text fields."""
    image = st.one_of(photo, photo, pictures.odd())
    file = st.tuples(st.just('Content-Disposition: form-data; name="photo"; filename="a.jpg"'), image)
    odd = st.tuples(chosen(ODD_HEADS), image)
    text = st.tuples(st.just('Content-Disposition: form-data; name="photo"'), image.map(_data_url))
    parts = st.lists(st.one_of(file, file, text, odd), max_size=3).map(multipart)
    in_form = st.lists(image, min_size=1, max_size=2).map(
        lambda images: (URLENCODED, urllib.parse.urlencode([("photo", _data_url(one)) for one in images]).encode())
    )
    return st.one_of(parts, parts, in_form)


def multipart(parts: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """A form of (headers, body)."""
    pieces = [f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + body + b"\r\n" for head, body in parts]
    return f"{MULTIPART}{BOUNDARY}", b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


def upload_db() -> st.SearchStrategy[tuple[str, bytes]]:
    """Forms of /upload_db."""
    return _fields(UPLOAD_DB_KEYS, {"name": st.sampled_from(("Eileen Collins", "x", "می‌خواهم", "name" * 31))})


def verify() -> st.SearchStrategy[tuple[str, bytes]]:
    """Forms of /verify."""
    return _fields(VERIFY_KEYS, {})


def _fields(keys: Sequence[str], hints: Mapping[str, st.SearchStrategy[str]]) -> st.SearchStrategy[tuple[str, bytes]]:
    known = (*world.GOOD, *world.GOOD, world.FACELESS, world.BROKEN, world.ABSENT)
    usual = {"upload_id": st.sampled_from(known), **hints}
    flag = st.sampled_from(("true", "false"))
    right = st.fixed_dictionaries({key: usual.get(key, flag) for key in keys})
    value = st.one_of(chosen(ODD_VALUES), st.text(st.characters(codec="utf-8"), max_size=20))
    one_wrong = st.tuples(right, st.sampled_from(keys), st.one_of(st.none(), value)).map(lambda odd: _changed(*odd))
    return st.one_of(right, one_wrong).map(lambda form: (URLENCODED, urllib.parse.urlencode(form).encode()))


def _changed(form: Mapping[str, str], key: str, value: str | None) -> dict[str, str]:
    """None leaves the key out."""
    others = {name: old for name, old in form.items() if name != key}
    return others if value is None else {**others, key: value}


def _data_url(data: bytes) -> bytes:
    return b"data:image/jpeg;base64," + base64.b64encode(data)
