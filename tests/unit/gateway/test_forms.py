import base64
import string
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote, quote_from_bytes

import pytest

from services.common.limits import MAX_BODY_BYTES
from services.gateway.api.form_stream import MAX_PARTS
from services.gateway.api.form_values import BrokenBase64
from services.gateway.api.forms import FormTooLarge, read_fields, read_photos, within_limit
from services.gateway.errors import TooManyPhotos

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
ALL = string.ascii_letters + string.digits + "+/-_=:;, "


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
    expected = {"name": "Dwayne Johnson", "a": "b c", "e": "é", "empty": "", "twice": "1"}
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


#: 3 n, 3 n + 1 and 3 n + 2 bytes, with letters of both alphabets.
BYTES = [bytes(range(256)) * 3 + bytes(range(end)) for end in (0, 1, 2)]


def in_lines(text: bytes) -> bytes:
    return b"\r\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + b"\r\n"


@pytest.mark.parametrize("data", BYTES)
@pytest.mark.parametrize("prefix", [b"", b"data:image/jpeg;base64,", b"DATA:image/jpeg;name=x;BASE64, ", b"\r\n "])
@pytest.mark.parametrize("form", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_in_lines_without_padding_and_for_urls(data: bytes, prefix: bytes, form: Callable[[bytes], bytes]):
    whole = form(data)
    texts = {whole, whole.rstrip(b"="), in_lines(whole), in_lines(whole.rstrip(b"=")), whole.replace(b"+", b" ")}
    for text in texts:
        for step in (7, 1000):
            assert photos(part("a", prefix + text), step=step) == {"a": data}
        for escaped in (quote_from_bytes(prefix + text), quote_from_bytes(prefix + text, safe=ALL)):
            pieces = [escaped.encode()[start : start + 7] for start in range(0, len(escaped), 7)]
            assert [one.data for one in read_photos(URLENCODED, [b"a=", *pieces])] == [data]


def test_files_that_are_sent_as_base64_in_lines():
    head = b'--x\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
    for data in BYTES:
        assert photos(head % b"BASE64" + in_lines(base64.b64encode(data)) + b"\r\n") == {"a.jpg": data}
    assert photos(head % b"quoted-printable" + b"=00a=\r\nb\r\n") == {"a.jpg": b"\0ab"}
    for plain in (b"binary", b"8bit", b"7bit"):
        assert photos(head % plain + b"=00a\r\n") == {"a.jpg": b"=00a"}
    with pytest.raises(BrokenBase64):
        photos(head % b"base64" + b"%%%\r\n")


def test_text_beside_files_is_passed_over_unless_it_is_a_data_url():
    texts = part("comment", b"of my cat!"), part("token", b"abcd"), part("url", b"data:image/png;base64,AAAA")
    assert photos(*texts, part("a", b"file", "a.jpg")) == {"a.jpg": b"file", "url": b"\0\0\0"}
    with pytest.raises(BrokenBase64):
        photos(*texts)
    with pytest.raises(BrokenBase64):
        photos(part("url", b"data:image/png;base64,%"), part("a", b"file", "a.jpg"))


@pytest.mark.parametrize("before", [b"This is a form.\r\n", b"\r\n\r\n", b"\n", b"--y\r\n", b"a\r\n--\r\n-x\r\n"])
def test_what_comes_before_the_first_boundary_and_after_the_last_is_passed_over(before: bytes):
    for step in (1, 7, 1000):
        assert photos(before + part("a", b"1", "a.jpg"), step=step) == {"a.jpg": b"1"}
    body = part("a", b"1", "a.jpg") + b"--x--\r\n--x\r\nmore"
    assert [one.name for one in read_photos(MULTIPART, [body])] == ["a.jpg"]


@pytest.mark.parametrize("charset", ["iso-8859-1", "ISO-8859-15", "windows-1252", "utf-8", "UTF8", "gb18030"])
def test_the_declared_charset_is_honoured(charset: str):
    body = f"name={quote('Zoé', encoding=charset)}".encode()
    assert read_fields(f'{URLENCODED}; charset="{charset}"', body) == {"name": "Zoé"}
    assert read_fields(URLENCODED, f"_charset_={charset}&".encode() + body)["name"] == "Zoé"


@pytest.mark.parametrize("charset", ["klingon", "utf-16", "utf-7", "idna", "punycode", "cp037", "\0", "é", "x" * 9999])
def test_a_charset_that_is_not_known_is_refused(charset: str):
    assert read_fields(f"{URLENCODED}; charset={charset}", b"a=b") == {}
    assert read_photos(f"{URLENCODED}; charset={charset}", [b"a=AAAA"]) == []
    assert read_photos(f"{MULTIPART}; charset={charset}", [part("a", b"1", "a.jpg") + b"--x--"]) == []


def test_bytes_that_are_not_in_the_charset_are_told():
    assert read_fields(URLENCODED, b"a=%ff&b=\xff") == {"a": "\ufffd", "b": "\ufffd"}


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 300,
        "multipart/form-data; boundary=\ufffd",
        ";",
        "; boundary=x",
        "\ufffd",
    ],
)
def test_content_types_that_are_none(content_type: str):
    assert read_photos(content_type, [part("a", b"1", "a.jpg") + b"--x--"]) == []
    assert read_fields(content_type, b"a=b") == {}


def test_a_boundary_is_any_bytes():
    body = part("a", b"1", "a.jpg").replace(b"--x", "--é".encode()) + "--é--".encode()
    assert [one.data for one in read_photos("multipart/form-data; boundary=é", [body])] == [b"1"]


def test_too_many_parts():
    files = [part("a", b"", "a.jpg")] * MAX_PARTS
    assert len(photos(*files, step=10_000)) == MAX_PARTS
    with pytest.raises(TooManyPhotos):
        photos(*files, part("a", b"", "a.jpg"), step=10_000)
    assert len(read_photos(URLENCODED, [b"a=AAAA&" * MAX_PARTS])) == MAX_PARTS
    with pytest.raises(TooManyPhotos):
        read_photos(URLENCODED, [b"a=AAAA&" * (MAX_PARTS + 1)])


@pytest.mark.parametrize(
    ("content_type", "start", "filling"),
    [
        (URLENCODED, b"a=AAAA", b"&"),
        (URLENCODED, b"", b"%41%4"),
        (URLENCODED, b"a=", b"%"),
        (URLENCODED, b"a=", b"="),
        (URLENCODED, b"a=", b" "),
        (MULTIPART, b"", b"\r\n-"),
        (MULTIPART, part("a", b"1", "a.jpg") + b"--x", b" "),
        (MULTIPART, part("a", b"1", "a.jpg"), b"--x" + b" " * 50_000 + b"\r\n\r\n\r\n"),
        (MULTIPART, part("a", b"1", "a.jpg")[:-3], b"\r\n--x?"),
        (MULTIPART, b"--x\r\n", b"A"),
        (MULTIPART, b"--x\r\nA: ", b" "),
        (MULTIPART, b"--x\r\n", b"A: b\r\n"),
    ],
)
def test_no_body_is_parsed_byte_by_byte(content_type: str, start: bytes, filling: bytes):
    """16 MiB; byte by byte they take some ten seconds."""
    started = time.process_time()
    piece = filling * ((1 << 20) // len(filling))
    with suppress(TooManyPhotos, BrokenBase64):
        read_photos(content_type, [start, *[piece] * 16])
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"%%%",
            b"data:image/png,abc",
            b"data:;base64,a",
            b"abcde",
            b"ab=c",
            b"abcd=",
            b"ab=",
            b"abc==",
            b"ab===",
            b"=",
        ),
        *(b"data:;base64", b"data:" + b"x" * 5000 + b";base64,AAAA", b" " * 5000, b"AA\0A", b"dat!"),
    ],
)
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
