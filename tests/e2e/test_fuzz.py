"""A short run of what `make fuzz` does at length, and inputs that it has found."""

from collections.abc import Iterator

import pytest

from services.common.limits import MAX_FORM_BYTES
from tests.e2e.services import NAMES
from tests.e2e.system import System
from tests.fuzz import run
from tests.fuzz.forms import URLENCODED
from tests.fuzz.fuzzer import Bounds, Fuzzer
from tests.fuzz.inputs import Call, Exchange, Input
from tests.fuzz.protos import Protos
from tests.fuzz.rest import request
from tests.fuzz.sending import Sender, fault

#: Seconds that a client waits: long enough for a busy machine, far too short for a request that hangs.
PATIENCE = 30

GATEWAY, LEGACY = "/reco.gateway.v1.GatewayService", "/reco.gateway.v1.LegacyService"
GRPC = "Content-Type: application/grpc"
FORM = f"Content-Type: {URLENCODED}"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with run.system(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.fixture
def sender(system: System) -> Sender:
    addresses = {name: system.address(name) for name in NAMES}
    return Sender({**addresses, "envoy": f"127.0.0.1:{system.port}"}, PATIENCE)


def form_message(size: int) -> bytes:
    """A LegacyFormRequest with a body of that many bytes, at least 20,000."""
    data = b"\x12" + varint(size) + bytes(size)
    return b"\x0a" + varint(len(data)) + data


def varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14])


FOUND: dict[str, tuple[Input, str | int]] = {
    "no message, of a method that is not logged": (
        Call("gateway", "/envoy.service.auth.v3.Authorization/Check", (b"\xff\xff",)),
        "INVALID_ARGUMENT",
    ),
    "compressed, by gRPC": (
        Call("envoy", f"{GATEWAY}/VerifyPerson", (b"",), (("content-encoding", "gzip"),)),
        "INVALID_ARGUMENT",
    ),
    "gRPC's own header, by REST": (Exchange("", request("POST", "/verify", [FORM, "Grpc-Timeout: soon"], b"a=b")), 200),
    "gRPC's own encoding, by REST": (
        Exchange("", request("POST", "/verify", [FORM, "Grpc-Encoding: gzip"], b"a=b")),
        200,
    ),
    "an encoding that nobody knows, by gRPC": (
        Exchange("", request("POST", f"{GATEWAY}/VerifyPerson", [GRPC, "Grpc-Encoding: none"], bytes(5))),
        "INVALID_ARGUMENT",
    ),
    "compressed, without saying how": (
        Exchange("", request("POST", f"{GATEWAY}/VerifyPerson", [GRPC], b"\1" + bytes(4))),
        "INVALID_ARGUMENT",
    ),
    "compressed, but not as it says": (
        Exchange("", request("POST", f"{GATEWAY}/VerifyPerson", [GRPC, "Grpc-Encoding: gzip"], b"\1\0\0\0\1x")),
        "INVALID_ARGUMENT",
    ),
    "a long name, which is told back": (
        Call("envoy", "/reco.gateway.v1.AccessService/RevokeKey", (b"\x0a" + varint(60_000) + b"x" * 60_000,)),
        "INVALID_ARGUMENT",
    ),
    "what says that it is gRPC, by GET": (Exchange("", request("GET", "/v1/info", [GRPC], b"")), "INVALID_ARGUMENT"),
    "a long path": (Exchange("", request("DELETE", f"/v1/people/{'x' * 25_000}", [], b"")), 400),
}


@pytest.mark.parametrize("what", FOUND)
def test_inputs_that_were_found_are_answered_well(sender: Sender, what: str):
    one, status = FOUND[what]
    answer = sender.send(one)
    assert fault(one, answer) is None
    assert answer.status == status


@pytest.mark.parametrize("size", [MAX_FORM_BYTES + 500, 140_000, 1_000_000])
def test_too_large_a_form_is_refused_however_fast_it_comes(sender: Sender, size: int):
    """Some of it arrives before it is known whether the request may pass."""
    grpc = Call("envoy", f"{LEGACY}/Verify", (form_message(size),))
    rest = Exchange("POST /verify", request("POST", "/verify", [FORM], b"a=" + bytes(size), chunked=True))
    json = Exchange(
        "", request("POST", "/v1/people:verify", [], b'{"upload_id": "' + b"x" * size + b'"}', chunked=True)
    )
    for _ in range(10):
        assert sender.send(grpc).status in ("OK", "RESOURCE_EXHAUSTED")  # the gateway answers 107, or Envoy refuses
        answer = sender.send(rest)
        assert (answer.status, fault(rest, answer)) == (200, None)
        assert sender.send(json).status in (400, 413)


def test_a_few_thousand_inputs_do_no_harm(system: System):
    report = Fuzzer(system, Bounds(late=PATIENCE, patience=PATIENCE)).run(inputs=2000, seed=14)
    assert report.inputs >= 2000
    found = {f"{failure.one.name}: {failure.why}" for failure in report.failures.values()}
    assert found == set()
    assert report.complaints == []
    called = {name.partition(" ")[2] for name in report.counts}
    protos = Protos()
    assert {f"{method.containing_service.full_name}/{method.name}" for method in protos.methods()} <= called
    assert {f"{endpoint.method} {endpoint.path}" for endpoint in protos.endpoints()} <= called
