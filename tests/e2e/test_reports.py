"""What was reported of systems like this one, through Envoy: odd IDs, charsets, forms and doubles get the right answer."""

import base64
import gzip
import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from deploy.local.demo import astronaut, jpeg
from tests.e2e.system import System

MULTIPART = "multipart/form-data; boundary=x"
URLENCODED = "application/x-www-form-urlencoded"
FLAGS = "&skip_verify=true&skip_db_search=false&skip_liveness=true"
UPLOAD_KEYS = ["upload_results", "upload_code", "upload_message", "system_errors"]


@pytest.fixture(scope="module")
def portrait() -> bytes:
    return jpeg(astronaut())


@pytest.fixture(autouse=True)
def no_traces(system: System) -> Iterator[None]:
    """Nothing of this is the server's fault, and its log says so."""
    before = len(system.log())
    yield
    system.write_env()
    assert "Traceback" not in system.log()[before:]


def form(*parts: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
    return b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"


def ask(system: System, method: str, path: str, body: bytes = b"", **headers: bytes | str) -> tuple[int, dict]:
    """The status and the JSON of an answer; headers as they are, with `_` for `-`."""
    connection = http.client.HTTPConnection("localhost", system.port, timeout=60)
    connection.putrequest(method, path)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, json.load(answer)


def upload(system: System, query: str, body: bytes, content_type: bytes | str = MULTIPART) -> dict:
    status, answer = ask(system, "POST", f"/upload_imgs?{query}", body, Content_Type=content_type)
    assert status == 200 and list(answer) == UPLOAD_KEYS
    return answer


def test_ids_that_are_not_utf8(system: System, portrait: bytes):
    assert upload(system, "id=RECO_ID_%ff", form(portrait))["upload_code"] == 127
    system.write_env(ID_REGEX="(?s).*")
    for person in ("%ff", "RECO_ID_%c3", "%ed%a0%80", "%00"):
        assert upload(system, f"id={person}", form(portrait))["upload_code"] == 127
        for path, fields in (("/verify", FLAGS), ("/upload_db", "&name=a&delete_pickles=f&rebuild_db=f&in_place=f")):
            answer = system.client.post(path, f"upload_id={person}-1{fields}".encode(), URLENCODED)
            assert next(value for key, value in answer.items() if key.endswith("_code")) == 127
        status, answer = ask(system, "DELETE", f"/v1/people/{person}")
        assert status == 400 and answer["code"] in (3, 400)


def test_content_types_that_are_not_utf8(system: System, portrait: bytes):
    for content_type in (b'multipart/form-data; boundary="\xff"', b"\xff", b"multipart/form-data\xff; boundary=x"):
        assert upload(system, "id=RECO_ID_1", form(portrait), content_type)["upload_code"] == 117
    for path in ("/verify", "/upload_db"):
        status, answer = ask(system, "POST", path, b"x", Content_Type=b"\xff")
        assert status == 200 and 107 in answer.values()


@pytest.mark.parametrize("digits", [1, 240, 244, 245, 246, 300, 5000, 60_000])
def test_tokens_of_any_length(system: System, digits: int):
    person = f"upload_id=RECO_ID_1-{'9' * digits}"
    answer = system.client.post("/verify", f"{person}{FLAGS}".encode(), URLENCODED)
    assert answer["recognition_code"] == 189
    fields = f"{person}&name=a&delete_pickles=f&rebuild_db=f&in_place=f"
    assert system.client.post("/upload_db", fields.encode(), URLENCODED)["result_code"] == 189


def test_a_plus_in_an_id_is_a_blank(system: System, portrait: bytes):
    system.write_env(ID_REGEX=r"[\w +]+")
    for written, person in (("ann+lee", "ann lee"), ("ann%20lee", "ann lee"), ("ann%2Blee", "ann+lee")):
        uploaded = upload(system, f"id={written}", form(portrait))["upload_results"]["upload_id"]
        assert uploaded.rpartition("-")[0] == person


def test_of_a_key_that_is_repeated_the_first_counts(system: System, portrait: bytes):
    uploaded = upload(system, "id=RECO_ID_1&id=RECO_ID_2", form(portrait))["upload_results"]["upload_id"]
    assert uploaded.startswith("RECO_ID_1-")
    answer = system.client.post("/verify", f"upload_id=RECO_ID_1-1&upload_id=nobody-1{FLAGS}".encode(), URLENCODED)
    assert answer["recognition_code"] == 189


@pytest.mark.parametrize("path", ["/upload_imgs?id=RECO_ID_1", "/upload_db", "/verify", "/v1/uploads", "/nowhere"])
def test_a_compressed_body_is_refused(system: System, portrait: bytes, path: str):
    body = gzip.compress(form(portrait))
    status, answer = ask(system, "POST", path, body, Content_Type=MULTIPART, Content_Encoding="gzip")
    assert status == 415 and answer["code"] == 415


def test_identity_is_no_compression(system: System, portrait: bytes):
    headers = {"Content_Type": MULTIPART, "Content_Encoding": "identity"}
    status, answer = ask(system, "POST", "/upload_imgs?id=RECO_ID_1", form(portrait), **headers)
    assert (status, answer["upload_code"]) == (200, 119)


@pytest.mark.parametrize("count", [201, 1001, 5000])
def test_too_many_parts_have_a_code(system: System, count: int):
    answer = upload(system, "id=RECO_ID_1", form(*[b"x"] * count))
    assert answer["upload_code"] == 120
    assert answer["upload_results"]["upload_id"] is None and answer["upload_results"]["saved"] == []


def test_forms_as_all_kinds_of_clients_send_them(system: System, portrait: bytes):
    lines, safe = base64.encodebytes(portrait), base64.urlsafe_b64encode(portrait).rstrip(b"=")
    beside = b'--x\r\nContent-Disposition: form-data; name="comment"\r\n\r\nof my cat!\r\n'
    encoded = form(b"\r\n" + lines).replace(b'.jpg"\r\n\r\n', b'.jpg"\r\nContent-Transfer-Encoding: base64\r\n')
    bodies = [
        (b"This is a form in several parts.\r\n" + form(portrait), MULTIPART),
        (encoded, MULTIPART),
        (beside + form(portrait), MULTIPART),
        (b"photo=" + safe, URLENCODED),
        (f"photo={quote(b'data:image/jpeg;base64,' + lines)}".encode(), URLENCODED),
    ]
    for body, content_type in bodies:
        answer = upload(system, "id=RECO_ID_1", body, content_type)
        assert answer["upload_code"] == 119, body[:80]
        stored = system.uploads / answer["upload_results"]["upload_id"] / "001.jpg"
        assert stored.read_bytes() == portrait


def test_names_come_as_their_charset_and_their_script_write_them(system: System, portrait: bytes):
    written = [
        ("iso-8859-1", "Zoé Ñandú", "zoé_ñandú"),
        ("windows-1252", "Zoé", "zoé"),
        ("utf-8", "ශ්\u200dරී", "ශ්\u200dරී"),
        ("utf-8", "می\u200cنا", "می\u200cنا"),
    ]
    for number, (charset, name, stored) in enumerate(written, 411):
        person = f"RECO_ID_{number}"
        uploaded = upload(system, f"id={person}", form(portrait))["upload_results"]["upload_id"]
        escaped = quote(name, encoding=charset)
        fields = f"upload_id={uploaded}&name={escaped}&delete_pickles=f&rebuild_db=f&in_place=f".encode()
        refused = system.client.post("/upload_db", fields, f"{URLENCODED}; charset=klingon")
        assert refused["result_code"] == 107
        if charset != "utf-8":
            assert system.client.post("/upload_db", fields, URLENCODED)["result_code"] == 108
        answer = system.client.post("/upload_db", fields, f"{URLENCODED}; charset={charset}")
        assert answer["result_code"] == 800
        assert (system.images / f"{stored}-{person}").is_dir()
        assert ask(system, "DELETE", f"/v1/people/{person}") == (200, {"existed": True})


def test_one_photo_under_two_ids_hides_neither(system: System, portrait: bytes):
    people = ("RECO_ID_401", "RECO_ID_402", "RECO_ID_403")
    for person in people:
        uploaded = upload(system, f"id={person}", form(portrait))["upload_results"]["upload_id"]
        assert system.client.upload_db(uploaded, "Ann")["result_code"] == 800
    for person in people:
        uploaded = upload(system, f"id={person}", form(portrait))["upload_results"]["upload_id"]
        answer = system.client.verify(uploaded, skip_verify=True, skip_liveness=True)
        assert answer["recognition_code"] == 134
        assert answer["recognition_results"]["distance"] == pytest.approx(0, abs=1e-3)
    for person in people:
        assert ask(system, "DELETE", f"/v1/people/{person}") == (200, {"existed": True})
