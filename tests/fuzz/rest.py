"""HTTP requests of every REST endpoint, as bytes."""

import json
import re
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import strategies as st

from tests.fuzz import forms
from tests.fuzz.edits import chosen, edited
from tests.fuzz.inputs import Exchange
from tests.fuzz.messages import NOT_UTF8, Hints, Messages
from tests.fuzz.protos import Rest

METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "post", "X" * 300)
IDS = (
    "RECO_ID_1",
    "RECO_ID_2",
    "RECO_ID_3",
    "%ff%fe",
    "a%00b",
    "%2e%2e%2f%2e%2e",
    "%F0%9F%98%80",
    "x" * 9000,
    "+",
    "%",
    "",
)
SUFFIXES = (
    "/",
    "//",
    "/.",
    "/../verify",
    "?",
    "?id=",
    "?id=RECO_ID_1&id=%ff",
    "#x",
    ";x=1",
    "%00",
    "%2f",
    "\\",
    "?" + "a=b&" * 900,
)
ODD_HEADERS = (
    "Content-Encoding: gzip",
    "Content-Type: application/grpc",
    "Content-Type: application/grpc-web+proto",
    "Content-Type: application/json; charset=utf-16",
    "X-HTTP-Method-Override: DELETE",
    "X-Body-Whole: yes",
    "X-Reco-Key-Name: admin",
    "X-Request-Id: \x7f",
    "X-Request-Id: " + "a" * 5000,
    "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
    "X-Envoy-Original-Path: /healthz",
    "X-Forwarded-For: 1.2.3.4, zzz",
    "Authorization: Bearer none",
    "Authorization: Basic \xff\xfe",
    "x-api-key: " + "k" * 3000,
    "Origin: https://evil.example",
    "Accept: text/html;q=x",
    "Accept-Encoding: gzip, br",
    "Range: bytes=0-",
    "Upgrade: h2c",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Connection: close, content-type",
    "traceparent: zz",
    "a_b: c",
    "TE: trailers",
    "Grpc-Timeout: 1n",
    "Grpc-Timeout: soon",
    "Grpc-Encoding: gzip",
    "Grpc-Encoding: none",
    "Grpc-Status: 13",
    "Expect: 100-continue",
    "Expect: more",
    "Content-Length: 3",
    "Transfer-Encoding: gzip",
    "Cookie: " + "c=d;" * 500,
    "Host: other.example:99999",
)
#: Requests that do not keep to HTTP, or leave it open where one ends.
BROKEN = (
    b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\xff\x09\x09\xff\xff\xff\xff",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200),
    b"GET /healthz\r\n\r\n",
    b"POST /verify HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
)
ODD_JSON = (
    b"",
    b"null",
    b"[" * 20_000,
    b'{"a":' * 3000,
    b'{"person_id": "a", "person_id": "b"}',
    b'{"upload_id": "\xff\xfe"}',
    b'{"upload_id": "\\ud800"}',
    b'{"photos": [{"image": "!"}]}',
    b'{"photos": [' + b'{"image": ""},' * 3000 + b"{}]}",
    b'{"skip_verify": "perhaps", "unknown": {"x": [1e999]}}',
    b"\xef\xbb\xbf{}",
)


def exchanges(endpoint: Rest, hints: Hints) -> st.SearchStrategy[Exchange]:
    """Requests that begin as one endpoint; of each at most a few parts are odd."""
    body = _bodies(endpoint, hints)
    is_odd = st.integers(0, 3).map(lambda number: number == 3)

    @st.composite
    def exchange(draw: st.DrawFn) -> Exchange:
        name = f"{endpoint.method} {endpoint.path}"
        method = draw(st.sampled_from(METHODS)) if draw(is_odd) else endpoint.method
        path = re.sub(r"{\w+(=\*\*)?}", lambda _: draw(chosen(IDS)), endpoint.path)
        path += draw(_queries(endpoint)) + (draw(chosen(SUFFIXES)) if draw(is_odd) else "")
        content_type, data = draw(body)
        headers = [f"Content-Type: {content_type}"] if content_type else []
        headers += draw(st.lists(chosen(ODD_HEADERS), max_size=3)) if draw(is_odd) else []
        wire = request(method, path, headers, data, chunked=draw(is_odd))
        whole = draw(st.integers(0, 9)) < 9
        return Exchange(name, wire) if whole else Exchange(name, draw(edited(st.just(wire))), whole=False)

    broken = chosen(BROKEN).map(lambda wire: Exchange(f"{endpoint.method} {endpoint.path}", wire, whole=False))
    return st.integers(0, 30).flatmap(lambda number: broken if number == 30 else exchange())


def request(method: str, path: str, headers: Sequence[str], body: bytes, chunked: bool = False) -> bytes:
    """The bytes of a request that keeps to HTTP/1.1 as far as its parts do."""
    lines = [f"{method} {path} HTTP/1.1", *headers]
    if not any(header.lower().startswith("host:") for header in headers):
        lines.append("Host: reco.example")
    if not any(header.startswith("Connection:") or "\nConnection:" in header for header in headers):
        lines.append("Connection: close")
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    return head + (_chunks(body) if chunked else body)


def _chunks(body: bytes) -> bytes:
    pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _queries(endpoint: Rest) -> st.SearchStrategy[str]:
    """Fields that are neither in the path nor the body can be in the query."""
    if endpoint.body == "*" or "{" in endpoint.path:
        return st.just("")
    names = [field.name for field in endpoint.takes.fields if field.name != endpoint.body]
    return chosen(IDS).map(lambda value: "?" + "&".join(f"{name}={value}" for name in names) if names else "")


def _bodies(endpoint: Rest, hints: Hints) -> st.SearchStrategy[tuple[str, bytes]]:
    """Content types and bodies."""
    if not endpoint.body:
        return st.just(("", b""))
    sent: Any = endpoint.takes if endpoint.body == "*" else endpoint.takes.fields_by_name[endpoint.body].message_type
    if sent.full_name != "google.api.HttpBody":
        right = Messages(hints).of(sent).map(_json)
        odd = st.one_of(edited(right), chosen(ODD_JSON))
        return st.tuples(st.just("application/json"), st.one_of(right, right, odd))
    known = {"/upload_imgs": forms.uploads(hints["image"]), "/upload_db": forms.upload_db(), "/verify": forms.verify()}
    right_form: Any = known.get(endpoint.path, forms.bodies(hints["image"]))
    return st.one_of(right_form, right_form, forms.broken(right_form), forms.bodies(hints["image"]))


def _json(message: Message) -> bytes:
    text = json_format.MessageToJson(message, preserving_proto_field_name=True)
    return text.replace(json.dumps(NOT_UTF8)[1:-1], _LONE).encode("utf-8", "surrogateescape")


#: Comes out as a byte that is not UTF-8.
_LONE = "\udcff"
