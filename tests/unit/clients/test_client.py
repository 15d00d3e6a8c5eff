"""Clients on a server of the tests' own: what is sent, what is read, what is sent again."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from reco_client import (
    AsyncClient,
    Client,
    Conflict,
    InvalidRequest,
    Limited,
    NotAllowed,
    NotFound,
    RecoError,
    Retries,
    TooLarge,
    Unavailable,
)
from reco_client.pictures import encoded

AT_ONCE = Retries(times=2, first=0)
PERSON = {"person_id": "RECO_ID_1", "display_name": "Ann", "labels": ["a"], "create_time": "2026-01-31T10:00:00.5Z"}


class Server:
    """Answers what it is told to, the last answer again and again; keeps what it is asked."""

    def __init__(self, *answers: httpx.Response | Exception):
        self.asked: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, retries: Retries = AT_ONCE, **options: str) -> Client:
        return Client("http://reco", transport=httpx.MockTransport(self), retries=retries, **options)


def told(answer: object, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=answer, headers=headers)


def refusal(status: int, reason: str, **fields: str) -> httpx.Response:
    violations = [{"field": name.replace("_", "[") + "]", "description": text} for name, text in fields.items()]
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "reco"},
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": violations},
    ]
    return told({"code": 3, "message": "because", "details": details}, status)


def test_people_are_listed_page_by_page_by_the_same_filters():
    server = Server(
        told({"people": [PERSON], "next_page_token": "t&1"}), told({"people": [{"person_id": "RECO_ID_2"}]})
    )
    with server.client() as client:
        people = list(client.list_people(name_prefix="A", created_after=datetime(2026, 1, 1, tzinfo=UTC)))
    assert [one.person_id for one in people] == ["RECO_ID_1", "RECO_ID_2"]
    assert people[0].labels == ("a",) and people[0].create_time == datetime(2026, 1, 31, 10, 0, 0, 500000, UTC)
    first, second = (dict(request.url.params) for request in server.asked)
    assert first == {"name_prefix": "A", "created_after": "2026-01-01T00:00:00+00:00"}
    assert second == {**first, "page_token": "t&1"}


def test_a_key_comes_from_the_argument_or_else_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_API_KEY", "of the environment")
    server = Server(told({"version": "1"}))
    for options in ({}, {"key": "mine"}, {"key": ""}):
        with server.client(**options) as client:
            assert client.info().version == "1"
    assert [request.headers.get("x-api-key") for request in server.asked] == ["of the environment", "mine", None]


def test_an_address_comes_from_the_argument_or_else_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RECO_URL", raising=False)
    assert Client().url == "http://localhost:8001"
    monkeypatch.setenv("RECO_URL", "https://door.example")
    assert Client().url == "https://door.example"
    for wrong in ("localhost:8001", "file:///etc/passwd", "http://"):
        with pytest.raises(ValueError):
            Client(wrong)


def test_names_lead_nowhere_else():
    server = Server(told(PERSON))
    with server.client() as client:
        client.get_person("a/../b?c#d:e")
        for wrong in ("", ".", ".."):
            with pytest.raises(ValueError):
                client.delete_person(wrong)
    assert [request.url.raw_path for request in server.asked] == [b"/v1/people/a%2F..%2Fb%3Fc%23d%3Ae"]


def test_pictures_are_sent_as_they_are_in_a_form():
    server = Server(told({"faces": [{"place": {"box": {"x": 1}}, "unknown": True}]}))
    with server.client() as client:
        answer = client.identify(b"\xff\xd8 picture", top_k=3, labels=["staff", "berlin"], largest_face_only=True)
    assert answer.faces[0].unknown and answer.faces[0].place.box.x == 1
    (request,) = server.asked
    assert request.url.path == "/v1/faces:identify"
    assert request.headers["content-type"].startswith("multipart/form-data")
    body = request.read()
    for part in (b'"top_k"\r\n\r\n3\r\n', b'"largest_face_only"\r\n\r\ntrue\r\n', b"\r\n\r\n\xff\xd8 picture\r\n"):
        assert part in body
    assert body.count(b'name="labels"') == 2


def test_changes_name_what_they_change():
    server = Server(told(PERSON))
    with server.client() as client:
        client.update_person("RECO_ID_1", labels=[], external_id="e")
        with pytest.raises(ValueError):
            client.update_person("RECO_ID_1")
    assert server.asked[0].url.params["update_mask"] == "labels,external_id"
    assert json.loads(server.asked[0].read()) == {"labels": [], "external_id": "e"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (429, Limited),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_refusals_are_exceptions(status: int, kind: type[RecoError]):
    with Server(refusal(status, "WHY", photos_0="it shows no face")).client() as client, pytest.raises(kind) as refused:
        client.info()
    told_of = refused.value
    assert (told_of.reason, told_of.status, str(told_of)) == ("WHY", status, "because")
    assert told_of.fields == {"photos[0]": "it shows no face"}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"details": [1, {"@type": 2}], "message": 3}'])
def test_a_refusal_may_say_anything(body: bytes):
    with Server(httpx.Response(404, content=body)).client() as client, pytest.raises(NotFound) as refused:
        client.info()
    assert refused.value.reason == ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"a"', b'{"models": 3}', b'{"version": {}}', b"[" * 100_000])
def test_an_answer_of_something_else_is_an_error(body: bytes):
    with Server(httpx.Response(200, content=body)).client() as client, pytest.raises(RecoError, match="address"):
        client.info()


def test_what_a_newer_server_adds_is_left_out():
    with Server(told({**PERSON, "nickname": "A"})).client() as client:
        assert client.get_person("RECO_ID_1").display_name == "Ann"


@pytest.mark.parametrize("failure", [told({}, 503), told({}, 429), httpx.ConnectError("no"), httpx.ReadTimeout("slow")])
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get_person("RECO_ID_1"),
        lambda client: client.verify("RECO_ID_1", b"picture"),
        lambda client: client.create_person("Ann", [b"picture"]),
        lambda client: client.update_person("RECO_ID_1", labels=["a"]),
    ],
)
def test_what_changes_nothing_twice_is_sent_again(failure: httpx.Response, ask: Callable[[Client], object]):
    server = Server(failure, told({"person": PERSON}))
    with server.client() as client:
        ask(client)
    assert len(server.asked) == 2 and server.asked[0].read().count(b"picture") == server.asked[1].read().count(
        b"picture"
    )


def test_an_enrollment_sent_again_has_the_same_request_id():
    server = Server(told({}, 503), told({"person": PERSON}))
    with server.client() as client:
        client.create_person("Ann", [b"picture"])
        client.create_person("Ann", [b"picture"])
    ids = [request.read().split(b'"request_id"\r\n\r\n')[1].split(b"\r\n")[0] for request in server.asked]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("failure", [told({}, 503), httpx.ReadTimeout("slow")])
def test_erasing_is_not_sent_again(failure: httpx.Response):
    server = Server(failure, told({"existed": False}))
    with server.client() as client, pytest.raises(Unavailable):
        client.delete_person("RECO_ID_1")
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 504])
def test_what_will_not_help_is_not_sent_again(status: int):
    server = Server(told({}, status))
    with server.client() as client, pytest.raises(RecoError):
        client.info()
    assert len(server.asked) == 1


def test_retries_end():
    server = Server(told({}, 503))
    with server.client() as client, pytest.raises(Unavailable):
        client.info()
    assert len(server.asked) == 1 + AT_ONCE.times


def test_a_server_that_asks_for_too_much_patience_is_not_asked_again():
    server = Server(told({}, 429, **{"retry-after": "3600"}))
    with server.client() as client, pytest.raises(Limited):
        client.info()
    assert len(server.asked) == 1


def test_many_photos_go_in_several_requests():
    report = {"name": "a", "outcome": "OUTCOME_ENROLLED"}
    server = Server(told({"person": PERSON, "photos": [report] * 2}), told({"photos": [report]}))
    seen: list[int] = []
    with server.client() as client:
        enrolled = client.enroll("Ann", [bytes(3 << 20)] * 3, request_id="r", progress=seen.append)
    assert [request.url.path for request in server.asked] == ["/v1/people", "/v1/people/RECO_ID_1/photos"]
    assert [int(request.headers["content-length"]) < 8 << 20 for request in server.asked] == [True, True]
    assert seen == [2, 3] and len(enrolled.photos) == 3 and all(photo.enrolled for photo in enrolled.photos)


def test_photos_none_of_which_does_are_told_and_the_next_ones_tried():
    large = bytes(5 << 20)
    no_face = refusal(400, "NO_USABLE_PHOTO", photos_0="it shows no face")
    server = Server(no_face, told({"person": PERSON, "photos": [{"name": "1", "outcome": "OUTCOME_ENROLLED"}]}))
    with server.client() as client:
        enrolled = client.enroll("Ann", [large, large])
        assert [photo.enrolled for photo in enrolled.photos] == [False, True]
        assert enrolled.photos[0].problem == "it shows no face"
    with Server(no_face).client() as client, pytest.raises(InvalidRequest) as refused:
        client.enroll("Ann", [large, large])
    assert set(refused.value.fields) == {"photos[0]", "photos[1]"}
    with Server(refusal(400, "NAME_INVALID")).client() as client, pytest.raises(InvalidRequest) as refused:
        client.enroll("Ann", [large, large])
    assert refused.value.reason == "NAME_INVALID"


def test_the_async_client_does_the_same():
    report = {"name": "a", "outcome": "OUTCOME_ENROLLED"}
    server = Server(
        told({}, 503),
        told({"people": [PERSON], "next_page_token": "t"}),
        told({"people": [PERSON]}),
        told({"person": PERSON, "photos": [report]}),
        told({"photos": [report]}),
        refusal(404, "NOT_ENROLLED"),
    )

    async def ask() -> None:
        transport = httpx.MockTransport(server)
        async with AsyncClient("http://reco", transport=transport, retries=AT_ONCE) as client:
            assert len([one async for one in client.list_people()]) == 2
            assert len((await client.enroll("Ann", [bytes(5 << 20)] * 2)).photos) == 2
            with pytest.raises(NotFound):
                await client.get_person("RECO_ID_9")

    asyncio.run(ask())
    assert len(server.asked) == 6


def test_both_clients_have_the_same_methods():
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5)])
def test_arrays_and_images_become_png_without_loss(shape: tuple[int, ...]):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for picture in (pixels, pixels[:, ::-1][:, ::-1], Image.fromarray(pixels)):
        name, data = encoded(picture)
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert name.endswith(".png") and np.array_equal(read, pixels if len(shape) == 3 else np.stack([pixels] * 3, -1))


def test_files_keep_their_names_and_bytes(tmp_path: Path):
    (tmp_path / "Ann.jpg").write_bytes(b"picture")
    assert encoded(tmp_path / "Ann.jpg") == encoded(str(tmp_path / "Ann.jpg")) == ("Ann.jpg", b"picture")


@pytest.mark.parametrize("picture", [np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5)), np.zeros((0, 5), np.uint8)])
def test_arrays_that_are_no_pictures_are_refused(picture: np.ndarray):
    with pytest.raises(ValueError):
        encoded(picture)


def test_what_is_no_picture_is_refused(tmp_path: Path):
    with pytest.raises(TypeError):
        encoded(7)
    with pytest.raises(OSError):
        encoded(tmp_path / "none.jpg")
