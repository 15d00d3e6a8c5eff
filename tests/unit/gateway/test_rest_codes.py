"""The REST contract: every code that it sends, the order of its checks, keys and texts."""

import base64
import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from services.common.env import EnvInvalid
from services.common.errors import DatabaseRefused, DatabaseUnavailable, ModelUnavailable
from services.gateway.api.codes import MESSAGES
from services.gateway.errors import LivenessUnavailable
from tests.fakes import FakeFace, fake_photo
from tests.machine import ROOT
from tests.unit.gateway.fake_gateway import MULTIPART, PERSON, URLENCODED, Answer, FakeGateway
from tests.unit.gateway.rest_requests import ANN, BOB, SPOOF, code_of, enroll, enrolled, multipart, upload, verify

UPLOAD_KEYS = ["upload_results", "upload_code", "upload_message", "system_errors"]
RESULT_KEYS = ["result_code", "result_message", "upload_results", "system_errors"]
RECOGNITION_KEYS = ["recognition_code", "recognition_message", "recognition_results", "system_errors"]
JSON = "application/json"

BROKEN_ENV = EnvInvalid(["NUM_AUG"], ["TARGET_WIDTH: 'wide' is not a whole number from 32 to 1024"])


def failing(gateway: FakeGateway, step: str, error: Exception) -> FakeGateway:
    gateway.steps.fail(step, error)
    return gateway


def without_env(gateway: FakeGateway) -> FakeGateway:
    gateway.workspaces.invalid = BROKEN_ENV
    return gateway


def empty_upload(gateway: FakeGateway) -> str:
    upload_id = gateway.upload(ANN)
    gateway.uploads.waiting[upload_id].clear()
    return upload_id


def torn_upload(gateway: FakeGateway) -> str:
    upload_id = gateway.upload(ANN, ANN)
    gateway.uploads.waiting[upload_id]["002.jpg"] = None
    return upload_id


def used_upload(gateway: FakeGateway) -> str:
    gateway.enroll(ANN)
    (upload_id,) = gateway.uploads.consumed
    return upload_id


def without_folder(gateway: FakeGateway) -> FakeGateway:
    enrolled(gateway).photos.folders.clear()
    return gateway


TURNED = fake_photo(FakeFace("ann", 0.6))

#: A request for each code; several where the code means several things.
CASES: list[tuple[int, Callable[[FakeGateway], Answer]]] = [
    # /upload_imgs
    (110, lambda g: upload(g, ANN, person="")),
    (176, lambda g: upload(without_env(g), ANN)),
    (127, lambda g: upload(g, ANN, person=f"{PERSON}x")),
    (117, lambda g: upload(g)),
    (117, lambda g: g.upload_imgs(PERSON, b"{}", JSON)),
    (117, lambda g: g.upload_imgs(PERSON, b"garbage")),
    (193, lambda g: g.upload_imgs(PERSON, b"photo=%%%", URLENCODED)),
    (120, lambda g: upload(g, fake_photo(score=1.0), b"no picture")),
    (119, lambda g: upload(g, ANN, fake_photo(score=1.0), b"no picture")),
    (119, lambda g: g.upload_imgs(PERSON, b"photo=" + base64.b64encode(ANN), URLENCODED)),
    # /upload_db
    (107, lambda g: g.post_upload_db(b"")),
    (107, lambda g: g.post_upload_db(b"{}", JSON)),
    (108, lambda g: g.post_upload_db(b"upload_id=x&name=y&in_place=true&rebuild_db=true")),
    (176, lambda g: enroll(without_env(g), ANN)),
    (127, lambda g: g.upload_db("nobody-1")),
    (108, lambda g: enroll(g, ANN, name="../..")),
    (189, lambda g: g.upload_db(f"{PERSON}-1")),
    (189, lambda g: g.upload_db(used_upload(g))),
    (155, lambda g: enroll(failing(g, "records.find", DatabaseUnavailable("down")), ANN)),
    (155, lambda g: enroll(failing(g, "records.commit", DatabaseUnavailable("down")), ANN)),
    (153, lambda g: g.upload_db(torn_upload(g))),
    (111, lambda g: g.upload_db(empty_upload(g))),
    (152, lambda g: enroll(g, fake_photo(), fake_photo("ann", "bob"))),
    (150, lambda g: enroll(failing(g, "records.find", DatabaseRefused("no such column")), ANN)),
    (150, lambda g: enroll(failing(g, "records.commit", DatabaseRefused("value too long")), ANN)),
    (150, lambda g: enroll(failing(g, "photos.stage", OSError("disk full")), ANN)),
    (800, lambda g: enroll(g, ANN)),
    (838, lambda g: enroll(g, ANN, in_place="true")),
    (850, lambda g: enroll(enrolled(g), ANN)),
    (900, lambda g: enroll(enrolled(g), ANN, in_place="TRUE")),
    # /verify
    (107, lambda g: g.post_verify(b"")),
    (109, lambda g: g.post_verify(b"upload_id=x&skip_verify=true&skip_liveness=true")),
    (176, lambda g: verify(without_env(g), ANN)),
    (127, lambda g: g.verify_rest("nobody-1")),
    (143, lambda g: verify(g, ANN, skip_verify="true", skip_db_search="true")),
    (189, lambda g: g.verify_rest(f"{PERSON}-1")),
    (189, lambda g: g.verify_rest(used_upload(g))),
    (153, lambda g: g.verify_rest(torn_upload(g))),
    (111, lambda g: g.verify_rest(empty_upload(g))),
    (630, lambda g: verify(g, fake_photo(), b"no picture")),
    (178, lambda g: verify(failing(g, "liveness.check", LivenessUnavailable("no model")), ANN)),
    (560, lambda g: verify(enrolled(g), SPOOF)),
    (155, lambda g: verify(failing(g, "records.find", DatabaseUnavailable("down")), ANN)),
    (155, lambda g: verify(failing(g, "records.journal", DatabaseUnavailable("down")), ANN, skip_verify="true")),
    (116, lambda g: verify(g, ANN)),
    (113, lambda g: verify(without_folder(g), ANN)),
    (200, lambda g: verify(enrolled(g), ANN)),
    (134, lambda g: verify(enrolled(g), ANN, TURNED)),
    (134, lambda g: verify(enrolled(g), ANN, skip_verify="true")),
    (100, lambda g: verify(enrolled(g), BOB)),
    (500, lambda g: verify(enrolled(g), fake_photo("eve"))),
    (500, lambda g: verify(enrolled(g), BOB, skip_db_search="true")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "request_for"), CASES, ids=[f"{n}-{code}" for n, (code, _) in enumerate(CASES)])
def test_the_code(gateway: FakeGateway, code: int, request_for: Callable[[FakeGateway], Answer]):
    answer = request_for(gateway)
    assert code_of(answer) == code
    assert list(answer) in (UPLOAD_KEYS, RESULT_KEYS, RECOGNITION_KEYS)
    (message,) = (value for key, value in answer.items() if key.endswith("_message"))
    assert message == MESSAGES[code]
    assert answer["system_errors"] == (
        {"not_in_env": BROKEN_ENV.not_in_env, "env_errs": BROKEN_ENV.env_errs} if code == 176 else None
    )


def test_no_code_is_without_a_case():
    assert {code for code, _ in CASES} == set(MESSAGES) - {126}, "126 is never sent"


# The order of checks: what is wrong is mended one by one, and the next is said


def test_the_order_of_upload_imgs(gateway: FakeGateway):
    gateway.workspaces.invalid = BROKEN_ENV
    broken, rejected = urlencode({"p": "%%%"}).encode(), multipart(p=fake_photo(score=1.0))
    codes = []

    def ask(person_id: str, body: bytes, content_type: str = URLENCODED) -> None:
        codes.append(code_of(gateway.upload_imgs(person_id, body, content_type)))

    ask("", broken)
    ask("nobody", broken)
    gateway.workspaces.invalid = None
    ask("nobody", broken)
    ask(PERSON, b"")
    ask(PERSON, broken)
    ask(PERSON, rejected, MULTIPART)
    ask(PERSON, multipart(p=ANN), MULTIPART)
    assert codes == [110, 176, 127, 117, 193, 120, 119]


def test_the_order_of_upload_db(gateway: FakeGateway):
    codes = [code_of(gateway.post_upload_db(b"")), code_of(gateway.post_upload_db(b"upload_id=nobody-1"))]

    def ask(upload_id: str, name: str = "Ann Lee") -> None:
        codes.append(code_of(gateway.upload_db(upload_id, name=name)))

    gateway.workspaces.invalid = BROKEN_ENV
    gateway.steps.fail("records.find", DatabaseUnavailable("down"))
    ask("nobody-1", name="")
    gateway.workspaces.invalid = None
    ask("nobody-1", name="")
    ask(f"{PERSON}-1", name="")
    ask(f"{PERSON}-1")
    torn, empty = torn_upload(gateway), empty_upload(gateway)
    ask(torn)
    ask(empty)
    ask(gateway.upload(fake_photo()))
    gateway.steps.fail("records.find", DatabaseRefused("no such column"))
    ask(torn)
    gateway.steps.clear()
    gateway.steps.fail("records.commit", DatabaseRefused("value too long"))
    ask(torn)
    ask(empty)
    ask(gateway.upload(fake_photo()))
    ask(gateway.upload(ANN))
    gateway.steps.clear()
    ask(gateway.upload(ANN))
    assert codes == [107, 108, 176, 127, 108, 189, 155, 155, 155, 150, 153, 111, 152, 150, 800]


def test_the_order_of_verify(gateway: FakeGateway):
    codes = [code_of(gateway.post_verify(b"")), code_of(gateway.post_verify(b"upload_id=nobody-1"))]

    def ask(upload_id: str, skip_both: str = "false") -> None:
        codes.append(code_of(gateway.verify_rest(upload_id, skip_verify=skip_both, skip_db_search=skip_both)))

    gateway.workspaces.invalid = BROKEN_ENV
    gateway.steps.fail("records.journal", DatabaseUnavailable("down"))
    gateway.steps.fail("liveness.check", LivenessUnavailable("no model"))
    ask("nobody-1", skip_both="true")
    gateway.workspaces.invalid = None
    ask("nobody-1", skip_both="true")
    ask(f"{PERSON}-1", skip_both="true")
    ask(f"{PERSON}-1")
    ask(torn_upload(gateway))
    ask(empty_upload(gateway))
    ask(gateway.upload(fake_photo()))
    ask(gateway.upload(SPOOF))
    gateway.steps.before("liveness.check", lambda: None)
    ask(gateway.upload(SPOOF))
    ask(gateway.upload(ANN))
    gateway.steps.clear()
    ask(gateway.upload(ANN))
    assert codes == [107, 109, 176, 127, 143, 189, 153, 111, 630, 178, 560, 155, 116]


def test_a_model_whose_weights_are_not_here_is_named(gateway: FakeGateway):
    gateway.enroll(ANN)
    for step in ("embedder.embed", "embedder.verify"):
        gateway.steps.fail(step, ModelUnavailable("vgg.onnx could not be had: put it by hand at var/models"))
    told = ["SELECTED_MODELS: vgg.onnx could not be had: put it by hand at var/models"]
    for answer in (enroll(gateway, ANN), verify(gateway, ANN)):
        assert 176 in answer.values() and answer["system_errors"] == {"not_in_env": [], "env_errs": told}


def test_the_documents_table_has_every_code_with_its_text():
    lines = (ROOT / "docs" / "codes.md").read_text().splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if re.match(r"\| \d", line)]
    assert {int(code): text.replace("\\|", "|") for code, _, text, _ in rows} == MESSAGES
    assert all(advice for *_, advice in rows)
