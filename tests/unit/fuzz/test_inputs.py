"""What the fuzzer makes of the protos."""

import hypothesis
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from tests.fuzz import calls, rest
from tests.fuzz.edits import Edit, apply
from tests.fuzz.messages import Messages
from tests.fuzz.protos import OF_ALL, Protos
from tests.fuzz.world import Known

KNOWN = Known("v1", np.ones((2, 4), np.float32), b"crop", ((1.0, 2.0),) * 5)


def examples(strategy: st.SearchStrategy, count: int = 60, seed: int = 1) -> list:
    """What the strategy makes of a seed."""
    made = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(one):
        made.append(one)

    collect()
    return made


@pytest.fixture(scope="module")
def messages() -> Messages:
    return Messages(hints())


def hints():
    return {
        "odd bytes": st.binary(max_size=9),
        "image": st.just(b"picture"),
        "model_version": st.just("v1"),
        "vector": st.just([1.0, 2.0]),
    }


METHODS = {f"{method.containing_service.full_name}/{method.name}": method for method in Protos().methods()}


def test_every_service_is_called():
    services = {name.partition("/")[0] for name in METHODS}
    assert {"reco.detector.v1.DetectorService", "envoy.service.auth.v3.Authorization", *OF_ALL} <= services


@pytest.mark.parametrize("name", METHODS)
def test_calls_of_every_rpc_hold_messages_of_it(name: str, messages: Messages):
    made = examples(calls.calls(METHODS[name], messages))
    assert True in outcomes(name, made)
    assert {call.path for call in made} == {f"/{name}"}
    assert {call.target for call in made} <= set(calls.targets(name.partition("/")[0]))


def test_some_calls_hold_what_is_no_message(messages: Messages):
    """One in thirty, so that of a few calls of one RPC there may be none."""
    made = {name: examples(calls.calls(METHODS[name], messages)) for name in sorted(METHODS)[:5]}
    assert False in set().union(*(outcomes(name, some) for name, some in made.items()))


def outcomes(name: str, made: list) -> set[bool]:
    """Whether what calls of an RPC hold are messages of it."""
    read = GetMessageClass(METHODS[name].input_type).FromString
    return {is_message(read, wire) for call in made for wire in call.requests}


def is_message(read, wire: bytes) -> bool:
    try:
        read(wire)
    except DecodeError:
        return False
    return True


def test_some_strings_are_not_utf8(messages: Messages):
    made = examples(calls.calls(METHODS["reco.gateway.v1.GatewayService/DeletePerson"], messages), count=400)
    assert any(b"\xff\xfe" in wire for call in made for wire in call.requests)


@pytest.mark.parametrize("endpoint", Protos().endpoints(), ids=lambda endpoint: endpoint.path)
def test_requests_of_every_endpoint_are_http_and_some_are_not(endpoint: rest.Rest):
    made = examples(rest.exchanges(endpoint, hints()), count=150)
    assert {one.whole for one in made} == {True, False}
    assert any(one.wire.startswith(f"{endpoint.method} {endpoint.path.partition('{')[0]}".encode()) for one in made)
    assert all(b"\r\n\r\n" in one.wire for one in made if one.whole)


def test_a_seed_makes_the_same_inputs_again(messages: Messages):
    strategy = calls.calls(METHODS["reco.detector.v1.DetectorService/PrepareFaces"], messages)
    assert examples(strategy, seed=5) == examples(strategy, seed=5)
    assert examples(strategy, seed=5) != examples(strategy, seed=6)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("cut", b"abc"),
        ("flip", b"abc\x9bef"),
        ("insert", b"abc!def"),
        ("remove", b"abcf"),
        ("overwrite", b"abc!ef"),
        ("repeat", b"abc" + b"de" * 64 + b"f"),
    ],
)
def test_edits(kind: str, left: bytes):
    assert apply(b"abcdef", [Edit(kind, 3 + 7, 2, b"!")]) == left
