import base64

import pytest

from services.common.limits import MAX_BODY_BYTES
from services.gateway.api.forms import BrokenBase64, FormTooLarge, read_fields, read_photos, within_limit

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    return f"{head}\r\n\r\n".encode() + data + b"\r\n"


def photos(*parts: bytes, step: int = 7) -> dict[str, bytes]:
    """What is read of a multipart body that comes in small pieces."""
    body = b"".join(parts) + b"--x--\r\n"
    pieces = [body[start : start + step] for start in range(0, len(body), step)]
    return {photo.name: photo.data for photo in read_photos(MULTIPART, pieces)}


def test_fields_are_decoded():
    body = b"name=Dwayne%20Johnson&a=b+c&e=%C3%A9&empty=&twice=1&twice=2"
    expected = {"name": "Dwayne Johnson", "a": "b c", "e": "é", "empty": "", "twice": "2"}
    assert read_fields(URLENCODED, body) == expected
    assert read_fields(URLENCODED.upper() + "; charset=UTF-8", body) == expected


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"a=b"),
        ("application/json", b"{}"),
        (MULTIPART, part("a", b"b")),
        (URLENCODED, b""),
        (URLENCODED, b"a=" * 40_000),
    ],
)
def test_other_bodies_have_no_fields(content_type: str, body: bytes):
    assert read_fields(content_type, body) == {}


def test_files_of_any_field_keep_their_bytes():
    assert photos(part("a", b"\0\r\n--", "one.jpg"), part("a", b"two", "two.jpg")) == {
        "one.jpg": b"\0\r\n--",
        "two.jpg": b"two",
    }


def test_same_names_get_a_suffix():
    parts = [part("a", bytes([number]), "same.jpg") for number in range(3)]
    assert list(photos(*parts)) == ["same.jpg", "same_2.jpg", "same_3.jpg"]


def test_a_file_input_that_was_left_empty_is_no_photo():
    assert photos(part("a", b"", "")) == {}


def test_names_are_only_names():
    assert list(photos(part("a", b"1", "../../x.jpg"), part("a", b"2", "C:\\y.jpg"))) == ["x.jpg", "y.jpg"]


def test_base64_and_data_urls():
    text = base64.b64encode(b"\xfb\xef\xbe")  # contains "+"
    assert b"+" in text
    assert photos(part("plain", text), part("url", b"data:image/png;base64," + text)) == {
        "plain": b"\xfb\xef\xbe",
        "url": b"\xfb\xef\xbe",
    }
    (unescaped,) = read_photos(URLENCODED, [b"photo=" + text])
    assert (unescaped.name, unescaped.data) == ("photo", b"\xfb\xef\xbe")


@pytest.mark.parametrize("text", [b"%%%", b"data:image/png,abc", b"data:;base64,a", b"abc"])
def test_broken_base64(text: bytes):
    with pytest.raises(BrokenBase64):
        photos(part("a", text))


def test_a_cut_off_form_has_only_its_whole_parts():
    body = part("a", b"whole", "a.jpg") + part("b", b"cut", "b.jpg")[:-1]
    assert [photo.name for photo in read_photos(MULTIPART, [body])] == ["a.jpg"]


def test_the_limit():
    piece = bytes(1 << 20)
    taken = 0
    with pytest.raises(FormTooLarge):
        for one in within_limit(piece for _ in range(1000)):
            taken += len(one)
    assert taken == MAX_BODY_BYTES
