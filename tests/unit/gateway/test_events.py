"""What happens to people is told to a webhook: in order, signed, again until it is received, within bounds."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.gateway.access.audit import Event
from services.gateway.events import webhook as hooks
from services.gateway.events.notice import TYPES, notice_of
from services.gateway.events.outbox import Outbox
from services.gateway.events.webhook import Webhook, secret_of, signed, webhook_of_environment

SECRET = b"s" * 32
TEXT = "whsec_" + base64.b64encode(SECRET).decode()
ENROLLED = Event("door", "enroll", "RECO_ID_1", "created", "r-1")


class Receiver:
    """Takes what it is sent, unless it is down."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, object], Mapping[str, str]]] = []
        self.down = False

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> None:
        if self.down:
            raise OSError("nobody is there")
        self.received.append((json.loads(body), headers))

    @property
    def types(self) -> list[object]:
        return [body["type"] for body, _ in self.received]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def webhook(receiver: Receiver, tmp_path: Path) -> Webhook:
    return Webhook(Outbox(tmp_path / "events"), SECRET, receiver)


def test_what_is_told_and_what_is_not(webhook: Webhook, receiver: Receiver):
    for action, outcome in TYPES:
        webhook.tell(Event("door", action, "RECO_ID_1", outcome, "r"))
    for action, outcome in (
        ("enroll", "NAME_INVALID"),
        ("upload", "saved 1 of 1"),
        ("deny", "FORBIDDEN"),
        ("view", "shown"),
    ):
        webhook.tell(Event("door", action, "RECO_ID_1", outcome, "r"))
    assert webhook.tell_waiting() and receiver.types == list(TYPES.values())
    assert set(receiver.types) == {
        "person.enrolled",
        "person.deleted",
        "person.verified",
        "person.unknown",
        "face.spoof",
    }


def test_a_notice_is_signed_and_says_no_more_than_it_must(webhook: Webhook, receiver: Receiver):
    webhook.tell(ENROLLED)
    webhook.tell_waiting()
    ((body, headers),) = receiver.received
    assert body["data"] == {"person_id": "RECO_ID_1", "key": "door", "request_id": "r-1"}
    assert set(body) == {"type", "timestamp", "data"}
    sent = json.dumps(body).encode()
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + sent
    wanted = base64.b64encode(hmac.new(SECRET, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_the_signature_is_that_of_the_standard():
    """The example of standardwebhooks.com's libraries."""
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', secret)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_not_received_is_told_again_in_order(webhook: Webhook, receiver: Receiver):
    receiver.down = True
    webhook.tell(ENROLLED)
    assert not webhook.tell_waiting()
    webhook.tell(replace(ENROLLED, action="erase", outcome="erased"))
    assert not webhook.tell_waiting() and not receiver.received
    receiver.down = False
    assert webhook.tell_waiting() and receiver.types == ["person.enrolled", "person.deleted"]
    assert webhook.tell_waiting() and len(receiver.received) == 2


def test_another_process_goes_on(webhook: Webhook, receiver: Receiver, tmp_path: Path):
    receiver.down = True
    webhook.tell(ENROLLED)
    webhook.tell_waiting()
    receiver.down = False
    Webhook(Outbox(tmp_path / "events"), SECRET, receiver).tell_waiting()
    assert receiver.types == ["person.enrolled"]


def test_one_sends_at_a_time(tmp_path: Path):
    one, other = Outbox(tmp_path), Outbox(tmp_path)
    with one.sending() as first, other.sending() as second:
        assert (first, second) == (True, False)
    with other.sending() as later:
        assert later


def test_no_more_wait_than_may(receiver: Receiver, tmp_path: Path):
    webhook = Webhook(Outbox(tmp_path, most=200), SECRET, receiver)
    for number in range(450):
        webhook.tell(replace(ENROLLED, person=str(number)))
        assert len(list(tmp_path.glob("*.json"))) <= 200
    webhook.tell_waiting()
    people = [int(str(body["data"]["person_id"])) for body, _ in receiver.received]  # type: ignore[index]
    assert people == sorted(people) and people[-1] == 449 and len(people) >= 198


def test_what_is_too_old_is_given_up(webhook: Webhook, receiver: Receiver, tmp_path: Path):
    notice = notice_of(ENROLLED)
    assert notice
    Outbox(tmp_path / "events").add(replace(notice, moment=time.time_ns() - int(1e9 * (hooks.MOST_AGE + 60))))
    assert webhook.tell_waiting() and not receiver.received and not list((tmp_path / "events").glob("*.json"))


def test_a_folder_that_is_full_fails_nobody(receiver: Receiver, tmp_path: Path):
    webhook = Webhook(Outbox(tmp_path / "events"), SECRET, receiver)
    (tmp_path / "events").rename(tmp_path / "gone")
    webhook.tell(ENROLLED)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("ftp://x", TEXT),
        ("x", TEXT),
        ("http://x", ""),
        ("http://x", "secret"),
        ("http://x", "whsec_YWJj"),
        ("http://x", "whsec_!"),
    ],
)
def test_what_it_is_not_set_up_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, secret: str):
    monkeypatch.setenv("RECO_WEBHOOK_QUEUE", str(tmp_path))
    monkeypatch.setenv("RECO_WEBHOOK_URL", url)
    monkeypatch.setenv("RECO_WEBHOOK_SECRET", secret)
    with pytest.raises(SystemExit, match="RECO_WEBHOOK"):
        webhook_of_environment()


def test_events_need_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECO_WEBHOOK_QUEUE", str(tmp_path / "file" / "queue"))
    monkeypatch.setenv("RECO_WEBHOOK_URL", "http://x")
    monkeypatch.setenv("RECO_WEBHOOK_SECRET", TEXT)
    with pytest.raises(SystemExit, match="RECO_WEBHOOK_QUEUE"):
        webhook_of_environment()


def test_it_is_set_up_by_variables_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert webhook_of_environment() is None
    monkeypatch.setenv("RECO_WEBHOOK_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("RECO_WEBHOOK_URL", "https://door.example/reco")
    (tmp_path / "secret").write_text(f"{TEXT}\n")
    monkeypatch.setenv("RECO_WEBHOOK_SECRET_FILE", str(tmp_path / "secret"))
    assert webhook_of_environment()
