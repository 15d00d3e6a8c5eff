"""Who is let in: keys, roles, and what is decided by them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from reco.access.v1 import ext_authz_pb2
from reco.gateway.v1 import (
    console_pb2,
    events_pb2,
    faces_pb2,
    gateway_pb2,
    info_pb2,
    legacy_pb2,
    operations_pb2,
    people_pb2,
    readiness_pb2,
    transfer_pb2,
)
from sqlalchemy import make_url

from services.common.database import open_engine
from services.common.errors import DatabaseUnavailable
from services.gateway.access.decision import Access, Admission
from services.gateway.access.keyring import NOTE_INTERVAL, AccessKeys
from services.gateway.access.keys import KeyRefused, KeyTable, digest_of, seconds_of
from services.gateway.access.open import is_loopback
from services.gateway.access.roles import ROLE_OF_PATH, Role, needed_role
from services.gateway.api.authorisation import AuthorizationServicer
from tests.unit.gateway.fake_gateway import CONTEXT

NOW = 1_700_000_000


class Clock:
    """Seconds since 1970, that pass when told to."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def table(tmp_path: Path) -> KeyTable:
    return KeyTable(open_engine(make_url(f"sqlite:///{tmp_path}/keys.db")), "reco_table")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keyring(table: KeyTable, clock: Clock) -> AccessKeys:
    return AccessKeys(lambda: table, clock)


@pytest.fixture
def decide(keyring: AccessKeys) -> Callable[..., Admission]:
    """Decides on a request for a path with a key, on what the table has now; nobody may come without a key."""

    def decided(path: str, key: str, method: str = "POST") -> Admission:
        keyring.refresh()
        return Access(keyring, allow_anonymous=False).decide(method, path, {"authorization": f"Bearer {key}"}).verdict

    return decided


def test_a_key_is_long_begins_as_all_do_and_is_not_kept(table: KeyTable, tmp_path: Path):
    keys = {table.add(f"door-{number}", Role.VERIFY, None) for number in range(20)}
    assert len(keys) == 20 and all(key.startswith("reco_") and len(key) == 48 for key in keys)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(key.encode() in stored or key[5:].encode() in stored for key in keys)


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "tür", "anonymous", "operator", "x\ny"])
def test_names_that_do_not_fit(table: KeyTable, name: str):
    with pytest.raises(KeyRefused):
        table.add(name, Role.ADMIN, None)
    assert table.all() == []


def test_a_name_is_given_once(table: KeyTable):
    table.add("door", Role.VERIFY, None)
    table.revoke("door")
    with pytest.raises(KeyRefused, match="take another name"):
        table.add("door", Role.VERIFY, None)
    with pytest.raises(KeyRefused, match="no key named"):
        table.revoke("door")
    with pytest.raises(KeyRefused, match="no key named"):
        table.revoke("gate")


@pytest.mark.parametrize(("span", "seconds"), [("12h", 43_200), ("90d", 7_776_000), ("1y", 31_536_000)])
def test_spans_of_time(span: str, seconds: int):
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("span", ["", "90", "d", "0d", "-1d", "1.5d", "90 d", "999999d", "1w"])
def test_what_is_no_span_of_time(span: str):
    with pytest.raises(KeyRefused):
        seconds_of(span)


MAY = {
    "/verify": {Role.VERIFY, Role.ENROLL, Role.ADMIN},
    "/upload_imgs?id=RECO_ID_1": {Role.VERIFY, Role.ENROLL, Role.ADMIN},
    "/v1/people:verify": {Role.VERIFY, Role.ENROLL, Role.ADMIN},
    "/reco.gateway.v1.GatewayService/VerifyPerson": {Role.VERIFY, Role.ENROLL, Role.ADMIN},
    "/reco.gateway.v1.LegacyService/Verify": {Role.VERIFY, Role.ENROLL, Role.ADMIN},
    "/upload_db": {Role.ENROLL, Role.ADMIN},
    "/upload_db/?x=/verify": {Role.ENROLL, Role.ADMIN},
    "/v1/people:enroll": {Role.ENROLL, Role.ADMIN},
    "/reco.gateway.v1.GatewayService/EnrollPerson": {Role.ENROLL, Role.ADMIN},
    "/reco.gateway.v1.LegacyService/UploadDb": {Role.ENROLL, Role.ADMIN},
    "/v1/people/RECO_ID_1": {Role.ADMIN},
    "/reco.gateway.v1.GatewayService/DeletePerson": {Role.ADMIN},
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": {Role.ADMIN},
    "/reco.gateway.v1.GatewayService/WhateverComesNext": {Role.ADMIN},
    "/verify/../v1/people/RECO_ID_1": {Role.ADMIN},
    "/Verify": {Role.ADMIN},
    "/v1/people%3Averify": {Role.ADMIN},
    "/": {Role.ADMIN},
}

#: The same by method, of paths that mean different things by it.
MAY_BY_METHOD = {
    ("GET", "/v1/info"): set(Role),
    ("POST", "/v1/uploads"): set(Role),
    ("GET", "/v1/uploads"): {Role.ADMIN},
    ("DELETE", "/v1/uploads/RECO_ID_1-1"): {Role.ADMIN},
    ("POST", "/v1/info"): {Role.ADMIN},
    ("POST", "/v1/faces:identify"): set(Role),
    ("POST", "/v1/people/RECO_ID_1:verify"): set(Role),
    ("GET", "/v1/people/RECO_ID_1:verify"): {Role.ADMIN},
    ("GET", "/v1/people?page_size=3"): {Role.ENROLL, Role.ADMIN},
    ("POST", "/v1/people"): {Role.ENROLL, Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1"): {Role.ENROLL, Role.ADMIN},
    ("PATCH", "/v1/people/Z%C3%BC%20rich?update_mask=labels"): {Role.ENROLL, Role.ADMIN},
    ("DELETE", "/v1/people/RECO_ID_1"): {Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1/photos"): {Role.ENROLL, Role.ADMIN},
    ("POST", "/v1/people/RECO_ID_1/photos"): {Role.ENROLL, Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1/photos/a-001"): {Role.ENROLL, Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1/photos/a-001:image"): {Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1/photos/a-001%3Aimage"): {Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1/photos/a-001/"): {Role.ADMIN},
    ("GET", "/v1/people/RECO_ID_1%2fphotos"): {Role.ADMIN},
    ("DELETE", "/v1/people/RECO_ID_1/photos/a-001"): {Role.ADMIN},
    ("GET", "/v1/people:conflicts"): {Role.ADMIN},
    ("POST", "/v1/people/RECO_ID_1:merge"): {Role.ADMIN},
    ("POST", "/v1/people/RECO_ID_1"): {Role.ADMIN},
    ("GET", "/v1/operations"): {Role.ADMIN},
    ("POST", "/v1/keys"): {Role.ADMIN},
    ("GET", "/v1/audit"): {Role.ADMIN},
    ("POST", "/reco.gateway.v1.EventsService/WatchEvents"): {Role.ADMIN},
    ("get", "/v1/people"): {Role.ADMIN},
}


@pytest.mark.parametrize("path", MAY)
def test_what_each_role_may(table: KeyTable, decide: Callable[..., Admission], path: str):
    keys = {role: table.add(role.value, role, None) for role in Role}
    verdicts = {role: decide(path, key) for role, key in keys.items()}
    assert verdicts == {role: Admission.PASSES if role in MAY[path] else Admission.FORBIDDEN for role in Role}


@pytest.mark.parametrize(("method", "path"), MAY_BY_METHOD)
def test_what_each_role_may_by_method(table: KeyTable, decide: Callable[..., Admission], method: str, path: str):
    keys = {role: table.add(role.value, role, None) for role in Role}
    passing = {role for role, key in keys.items() if decide(path, key, method) is Admission.PASSES}
    assert passing == MAY_BY_METHOD[method, path]


def test_the_consoles_files_are_shown_to_all_and_nothing_beside_them(decide: Callable[..., Admission]):
    for path in ("/", "/console/main.js", "/console/pages/try.js"):
        assert decide(path, "", "GET") is Admission.PASSES
    assert decide("/reco.gateway.v1.ConsoleService/GetFile", "wrong") is Admission.PASSES
    for path in ("/consoles", "/console", "//", "/console\n/x"):
        assert decide(path, "", "GET") is not Admission.PASSES
    assert decide("/console/main.js", "", "DELETE") is not Admission.PASSES


def rpcs() -> list[MethodDescriptor]:
    """All that the gateway has."""
    modules = (
        console_pb2, events_pb2, faces_pb2, gateway_pb2, info_pb2, legacy_pb2, operations_pb2, people_pb2, readiness_pb2,
        transfer_pb2, health_pb2,
    )  # fmt: skip
    services = [one for module in modules for one in module.DESCRIPTOR.services_by_name.values()]
    return [method for service in services for method in service.methods]


def endpoints(method: MethodDescriptor) -> Iterator[tuple[str, str]]:
    """Of an RPC over HTTP: methods, and paths as clients ask for them."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        if kind := one.WhichOneof("pattern"):
            yield kind.upper(), re.sub(r"\{[^}]+\}", "x", getattr(one, kind))


def test_every_path_of_the_table_is_one_that_there_is():
    there = {f"/{method.containing_service.full_name}/{method.name}" for method in rpcs()}
    for method in rpcs():
        there |= {path for kind, path in endpoints(method) if kind == "POST"}
    assert set(ROLE_OF_PATH) <= there | {f"{path}/" for path in there}


@pytest.mark.parametrize("method", rpcs(), ids=lambda method: method.name)
def test_an_endpoint_needs_the_role_of_its_rpc(method: MethodDescriptor):
    service = method.containing_service.full_name
    if service.endswith(".FormService"):  # the same, of forms
        service = (
            f"reco.gateway.v1.{'PeopleService' if method.name in ('CreatePerson', 'AddPhotos') else 'FacesService'}"
        )
    by_grpc = needed_role("POST", f"/{service}/{method.name}")
    assert {needed_role(*endpoint) for endpoint in endpoints(method)} <= {by_grpc}


def test_a_revoked_key_is_worthless_at_the_next_look(table: KeyTable, decide: Callable[..., Admission]):
    key = table.add("door", Role.VERIFY, None)
    assert decide("/verify", key) is Admission.PASSES
    table.revoke("door")
    assert decide("/verify", key) is Admission.NEEDS_KEY


def test_an_expired_key_is_worthless_at_once(table: KeyTable, keyring: AccessKeys, clock: Clock):
    key = table.add("guest", Role.VERIFY, 60, now=NOW)
    keyring.refresh()
    access, headers = Access(keyring, allow_anonymous=True), {"x-api-key": key}
    clock.now += 59.9
    assert access.decide("POST", "/verify", headers).verdict is Admission.PASSES
    clock.now += 0.1
    assert access.decide("POST", "/verify", headers).verdict is Admission.NEEDS_KEY


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({"authorization": "Bearer {}"}, Admission.PASSES),
        ({"authorization": "bearer   {} "}, Admission.PASSES),
        ({"x-api-key": "{}"}, Admission.PASSES),
        ({"authorization": "Basic YTpi", "x-api-key": "{}"}, Admission.PASSES),
        ({"authorization": "Bearer wrong", "x-api-key": "{}"}, Admission.NEEDS_KEY),
        ({"authorization": "{}"}, Admission.NEEDS_KEY),
        ({"authorization": "Basic {}"}, Admission.NEEDS_KEY),
        ({"authorization": "Bearer {},{}"}, Admission.NEEDS_KEY),
        ({"authorization": "Bearer"}, Admission.NEEDS_KEY),
        ({"authorization": "Bearer \ud800"}, Admission.NEEDS_KEY),
        ({"x-api-key": "reco_" + "x" * 100_000}, Admission.NEEDS_KEY),
        ({}, Admission.NEEDS_KEY),
    ],
)
def test_how_a_key_is_sent(table: KeyTable, keyring: AccessKeys, headers: dict[str, str], verdict: Admission):
    key = table.add("door", Role.VERIFY, None)
    keyring.refresh()
    sent = {name: value.replace("{}", key) for name, value in headers.items()}
    decision = Access(keyring, allow_anonymous=True).decide("POST", "/verify", sent)
    assert (decision.verdict, decision.name) == (verdict, "door" if verdict is Admission.PASSES else "anonymous")


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize(
    ("role", "verdict"),
    [
        ("admin", Admission.PASSES),
        ("enroll", Admission.PASSES),
        ("verify", Admission.FORBIDDEN),
        ("Admin", Admission.FORBIDDEN),
        ("admin,verify", Admission.FORBIDDEN),
        ("", Admission.FORBIDDEN),
        (None, Admission.FORBIDDEN),
    ],
)
def test_a_token_says_its_role(
    table: KeyTable, keyring: AccessKeys, with_key: bool, role: str | None, verdict: Admission
):
    """Whatever key comes with it, and whether or not there are keys at all."""
    key = table.add("door", Role.ADMIN, None) if with_key else "none"
    keyring.refresh()
    headers = {"x-reco-token-name": "ann", "x-api-key": key}
    headers |= {} if role is None else {"x-reco-token-role": role}
    decision = Access(keyring, allow_anonymous=True).decide("POST", "/upload_db", headers)
    assert (decision.verdict, decision.name) == (verdict, "oidc:ann")


def test_the_subject_of_a_token_can_be_sent_on_as_plain_text(keyring: AccessKeys):
    access = Access(keyring, allow_anonymous=False)
    names = [
        access.decide("POST", "/verify", {"x-reco-token-name": subject, "x-reco-token-role": "verify"}).name
        for subject in ("auth0|5f7c@example.org", "Zoë\n", "x" * 5000)
    ]
    assert names == ["oidc:auth0|5f7c@example.org", "oidc:Zo%C3%AB%0A", "oidc:" + "x" * 150]


def test_a_digest_is_no_key(table: KeyTable, decide: Callable[..., Admission]):
    key = table.add("door", Role.ADMIN, None)
    assert decide("/verify", digest_of(key)) is Admission.NEEDS_KEY


def test_whoever_watches_over_the_system_needs_no_key(decide: Callable[..., Admission]):
    assert decide("/healthz", "") is decide("/readyz?x", "") is decide("/openapi.json", "") is Admission.PASSES


def test_without_keys_it_is_open_only_where_that_was_said(keyring: AccessKeys):
    keyring.refresh()
    assert Access(keyring, allow_anonymous=True).decide("POST", "/v1/people/1", {}).verdict is Admission.PASSES
    refused = Access(keyring, allow_anonymous=False).decide("POST", "/v1/people/1", {})
    assert refused.verdict is Admission.NEEDS_KEY and "make key" in refused.why


def test_one_key_closes_it_to_all_others_and_revoking_the_last_does_not_open_it(table: KeyTable, keyring: AccessKeys):
    access = Access(keyring, allow_anonymous=True)
    table.add("door", Role.VERIFY, None)
    keyring.refresh()
    assert access.decide("POST", "/verify", {}).verdict is Admission.NEEDS_KEY
    table.revoke("door")
    keyring.refresh()
    assert access.decide("POST", "/verify", {}).verdict is Admission.NEEDS_KEY


def test_keys_stay_in_force_while_the_database_is_away(table: KeyTable, clock: Clock):
    reachable = True

    def open_table() -> KeyTable:
        if not reachable:
            raise DatabaseUnavailable("away")
        return table

    keyring = AccessKeys(open_table, clock)
    access = Access(keyring, allow_anonymous=False)
    key = table.add("door", Role.VERIFY, None)
    reachable = False
    keyring.refresh()
    assert access.decide("POST", "/verify", {"x-api-key": key}).verdict is Admission.UNDECIDED
    reachable = True
    keyring.refresh()
    reachable = False
    keyring.refresh()
    assert access.decide("POST", "/verify", {"x-api-key": key}).verdict is Admission.PASSES
    assert access.decide("POST", "/verify", {"x-api-key": key + "x"}).verdict is Admission.NEEDS_KEY


def test_the_last_use_of_a_key_is_noted(table: KeyTable, keyring: AccessKeys, clock: Clock):
    key = table.add("door", Role.VERIFY, None)
    table.add("gate", Role.VERIFY, None)
    keyring.refresh()
    keyring.find(digest_of(key))
    keyring.refresh()
    assert [key.last_used for key in table.all()] == [None, None]
    clock.now += NOTE_INTERVAL
    keyring.refresh()
    assert {key.name: key.last_used for key in table.all()} == {"door": NOW, "gate": None}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost"])
def test_addresses_of_this_machine_alone(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "", "10.0.0.1", "example.org"])
def test_addresses_that_others_reach(host: str):
    assert not is_loopback(host)


def test_what_envoy_is_told(table: KeyTable, keyring: AccessKeys):
    events = []
    key = table.add("door", Role.VERIFY, None)
    keyring.refresh()
    servicer = AuthorizationServicer(Access(keyring, allow_anonymous=False), events.append)

    def check(path: str, **headers: str) -> ext_authz_pb2.CheckResponse:
        request = ext_authz_pb2.CheckRequest()
        http = request.attributes.request.http
        http.method, http.path = "DELETE", path
        http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return servicer.Check(request, CONTEXT)

    passed = check("/verify", x_api_key=key)
    assert passed.status.code == 0
    assert [(option.header.key, option.header.value) for option in passed.ok_response.headers] == [
        ("x-reco-key-name", "door")
    ]
    assert {"authorization", "x-api-key"} <= set(passed.ok_response.headers_to_remove)
    refused = check("/verify")
    assert (refused.status.code, refused.denied_response.status.code) == (16, 401)
    assert refused.denied_response.headers[0].header.value == "Bearer"
    assert not events
    forbidden = check("/v1/people/%41nn?x=1", x_api_key=key, x_request_id="r1")
    assert (forbidden.status.code, forbidden.denied_response.status.code) == (7, 403)
    (event,) = events
    assert (event.key, event.action, event.person, event.request) == ("door", "deny", "DELETE /v1/people/Ann", "r1")
