"""One key may not ask without end, from however many places."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.api import httpbody_pb2
from reco.access.v1 import ext_authz_pb2_grpc
from reco.gateway.v1 import legacy_pb2, legacy_pb2_grpc
from sqlalchemy import create_engine

from services.common.server import Server, ServerOptions
from services.gateway.access.decision import Access
from services.gateway.access.keyring import AccessKeys
from services.gateway.access.keys import KeyTable
from services.gateway.access.roles import Role
from services.gateway.api.authorisation import AuthorizationServicer
from tests.e2e.envoy import Envoy
from tests.machine import free_port

BURST = 4


class _Gateway(legacy_pb2_grpc.LegacyServiceServicer):
    def Verify(self, request: legacy_pb2.LegacyFormRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/json", data=b"{}")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> KeyTable:
    return KeyTable(create_engine(f"sqlite:///{tmp_path_factory.mktemp('keys') / 'keys.db'}"), "reco_table")


@pytest.fixture(scope="module")
def keys(table: KeyTable) -> list[str]:
    """A key for each test."""
    return [table.add(f"key-{number}", Role.VERIFY, None) for number in range(3)]


def envoy(folder: Path, access: Access) -> Iterator[int]:
    """The port of Envoy, which lets a key through BURST times, and then once a second."""
    port = free_port()
    services = {
        "reco.gateway.v1.LegacyService": partial(legacy_pb2_grpc.add_LegacyServiceServicer_to_server, _Gateway()),
        "envoy.service.auth.v3.Authorization": partial(
            ext_authz_pb2_grpc.add_AuthorizationServicer_to_server, AuthorizationServicer(access, lambda event: None)
        ),
    }
    with ExitStack() as stack:
        server = Server(ServerOptions(f"127.0.0.1:{port}"), services)
        server.start()
        stack.callback(server.stop, 0)
        yield stack.enter_context(Envoy(folder, [port], KEY_BURST=str(BURST), KEY_RATE="1")).port


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, table: KeyTable, keys: list[str]) -> Iterator[int]:
    known = AccessKeys(lambda: table)
    known.refresh()
    yield from envoy(tmp_path_factory.mktemp("guarded"), Access(known, allow_anonymous=False))


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where there are no keys."""
    yield from envoy(tmp_path_factory.mktemp("open"), Access(AccessKeys(KeyTable), allow_anonymous=True))


def verify(port: int, key: str = "") -> tuple[int, str | None, dict]:
    """Status, retry-after, JSON."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/verify", b"a=b", {"x-api-key": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, None, json.load(answer)
    except urllib.error.HTTPError as err:
        return err.code, err.headers["retry-after"], json.load(err)


def test_beyond_its_burst_a_key_is_told_to_wait(guarded: int, keys: list[str]):
    answers = [verify(guarded, keys[0]) for _ in range(3 * BURST)]
    assert [answer[0] for answer in answers[:BURST]] == [200] * BURST
    refused = [answer for answer in answers if answer[0] == 429]
    assert refused and refused[0][1] == "1"
    assert refused[0][2] == {"code": 429, "message": "Too many requests; try again later."}
    assert verify(guarded, keys[1])[0] == 200, "another key's is another bucket"


def test_grpc_clients_are_told_so_too(guarded: int, keys: list[str]):
    codes = []
    with grpc.insecure_channel(f"127.0.0.1:{guarded}", [("grpc.enable_retries", 0)]) as channel:
        for _ in range(3 * BURST):
            try:
                form = legacy_pb2.LegacyFormRequest()
                legacy_pb2_grpc.LegacyServiceStub(channel).Verify(form, metadata=[("x-api-key", keys[2])], timeout=10)
            except grpc.RpcError as err:
                codes.append(err.code())
    assert codes and set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_who_needs_no_key_is_limited_by_address_alone(unguarded: int):
    assert {verify(unguarded)[0] for _ in range(3 * BURST)} == {200}


def test_nobody_uses_up_a_keys_requests_by_its_name(guarded: int, keys: list[str]):
    request = urllib.request.Request(f"http://127.0.0.1:{guarded}/verify", b"a=b", {"x-reco-key-name": "key-1"})
    for _ in range(2 * BURST):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=30)
    assert verify(guarded, keys[1])[0] == 200
