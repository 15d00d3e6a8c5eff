"""What the fuzzer takes for a fault."""

import json

import pytest

from tests.fuzz.inputs import Call, Exchange, load, save
from tests.fuzz.rest import request
from tests.fuzz.sending import Answer, fault

CALL = Call("gateway", "/reco.gateway.v1.GatewayService/DeletePerson", (b"\xff",), (("x-request-id", "a"),))
HASTY = Call("gateway", CALL.path, (), impatient=True)
FOUR = {"recognition_code": 107, "recognition_message": "", "recognition_results": None, "system_errors": None}


def verify(method: str = "POST", whole: bool = True) -> Exchange:
    return Exchange("POST /verify", request(method, "/verify?x=1", [], b"a=b"), whole)


@pytest.mark.parametrize(
    ("one", "status", "text"),
    [
        (CALL, "OK", ""),
        (CALL, "INVALID_ARGUMENT", "the ID does not match"),
        (CALL, "RESOURCE_EXHAUSTED", '{"code":413,"message":"too large"}'),
        (HASTY, "DEADLINE_EXCEEDED", ""),
        (verify(), 200, json.dumps(FOUR)),
        (verify(), 404, '{"code": 404, "message": ""}'),
        (verify("HEAD"), 405, ""),
        (verify(whole=False), 0, ""),
        (verify(whole=False), 400, "Bad Request"),
    ],
)
def test_answers_that_are_well(one: Call | Exchange, status: str | int, text: str):
    assert fault(one, Answer(status, text, 0.1)) is None


@pytest.mark.parametrize(
    ("one", "status", "text"),
    [
        (CALL, "INTERNAL", ""),
        (CALL, "UNKNOWN", ""),
        (CALL, "UNAVAILABLE", ""),
        (CALL, "DEADLINE_EXCEEDED", ""),
        (CALL, "RESOURCE_EXHAUSTED", "others are waiting"),
        (CALL, "INVALID_ARGUMENT", "Traceback (most recent call last)"),
        (CALL, "NOT_FOUND", "connect to 127.0.0.1:15051"),
        (verify(), 500, "{}"),
        (verify(), 503, '{"code": 503}'),
        (verify(whole=False), 500, ""),
        (verify(), 0, "no answer"),
        (verify(), 200, json.dumps({"recognition_code": 107})),
        (verify(), 200, "[]"),
        (verify(), 404, "<html>"),
    ],
)
def test_answers_that_are_faults(one: Call | Exchange, status: str | int, text: str):
    assert fault(one, Answer(status, text, 0.1)) is not None


@pytest.mark.parametrize("one", [CALL, HASTY, verify(whole=False)])
def test_what_is_kept_is_sent_again_to_the_letter(one: Call | Exchange, tmp_path):
    save(one, "why", tmp_path / "kept.json")
    assert load(tmp_path / "kept.json") == one
