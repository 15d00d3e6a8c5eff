"""Keys and the audit log as administrators have them by the typed API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from reco.gateway.v1 import access_pb2 as pb
from sqlalchemy import make_url

from services.common import call
from services.common.database import open_engine
from services.common.errors import RecoError
from services.gateway.access.audit import Event, append
from services.gateway.access.keys import KeyTable, digest_of
from services.gateway.api.access import AccessBooks, AccessServicer
from tests.unit.gateway.fake_gateway import CONTEXT
from tests.unit.gateway.people_requests import refusal


class Books:
    """Keys and an audit log of one folder, and who asks for them."""

    def __init__(self, folder: Path):
        self.engine = open_engine(make_url(f"sqlite:///{folder}/reco.db"))
        self.table, self.log = KeyTable(self.engine, "reco_table"), folder / "audit.log"
        books = AccessBooks(lambda: self.table, lambda: self.log, lambda event: append(self.log, event))
        self.api = AccessServicer(books)
        call.begin("r-1", None, "boss")

    def create(self, name: str = "door", role: str = "verify", lifetime: str = "") -> pb.CreateKeyResponse:
        return self.api.CreateKey(pb.CreateKeyRequest(name=name, role=role, lifetime=lifetime), CONTEXT)

    def revoke(self, name: str) -> pb.Key:
        return self.api.RevokeKey(pb.RevokeKeyRequest(name=name), CONTEXT)

    def page(self, size: int = 0, token: str = "") -> pb.ListAuditEntriesResponse:
        return self.api.ListAuditEntries(pb.ListAuditEntriesRequest(page_size=size, page_token=token), CONTEXT)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    yield books
    call.begin("", None)
    books.engine.dispose()


def test_a_key_is_made_listed_and_revoked(books: Books):
    made = books.create(lifetime="90d")
    (row,) = books.table.all()
    assert made.secret.startswith("reco_") and digest_of(made.secret) == row.digest
    assert (made.key.name, made.key.role, made.key.state) == ("door", "verify", pb.Key.STATE_VALID)
    assert made.key.expire_time.seconds - made.key.create_time.seconds == 90 * 86400
    assert not made.key.HasField("revoke_time") and not made.key.HasField("last_use_time")
    assert books.revoke("door").state == pb.Key.STATE_REVOKED
    (listed,) = books.api.ListKeys(pb.ListKeysRequest(), CONTEXT).keys
    assert listed.state == pb.Key.STATE_REVOKED and listed.HasField("revoke_time")
    told = [(one.key, one.action, one.person_id, one.outcome, one.request_id) for one in books.page().entries]
    assert told == [("boss", "revoke_key", "door", "revoked", "r-1"), ("boss", "make_key", "door", "verify", "r-1")]
    assert made.secret not in books.log.read_text()


def test_keys_that_cannot_be(books: Books):
    books.create()
    assert refusal(books.create) == ("INVALID_ARGUMENT", "KEY_REFUSED", [])
    assert refusal(lambda: books.create("a b")) == ("INVALID_ARGUMENT", "KEY_REFUSED", [])
    assert refusal(lambda: books.create("x", lifetime="soon")) == ("INVALID_ARGUMENT", "KEY_REFUSED", [])
    assert refusal(lambda: books.create("x", role="boss")) == ("INVALID_ARGUMENT", "FIELD_INVALID", ["role"])
    assert refusal(lambda: books.revoke("x")) == ("INVALID_ARGUMENT", "KEY_REFUSED", [])
    assert [key.name for key in books.table.all()] == ["door"]


def test_who_has_no_key_makes_none(books: Books):
    call.begin("r-2", None, "anonymous")
    with pytest.raises(RecoError) as refused:
        books.create()
    assert (refused.value.status, refused.value.reason) == ("PERMISSION_DENIED", "KEY_NEEDED")
    assert books.table.all() == []


def test_the_audit_log_is_listed_from_its_end(books: Books):
    assert books.page().entries == [] and not books.page().next_page_token
    for number in range(7):
        append(books.log, Event("door", "verify", f"RECO_ID_{number}", "verified", "r" * (number * 20)))
    found, token = [], ""
    while (page := books.page(3, token)).next_page_token:
        found, token = [*found, *page.entries], page.next_page_token
        append(books.log, Event("door", "upload", "later", "saved 1 of 1", "r"))  # shifts nothing
    found += page.entries
    assert [one.person_id for one in found] == [f"RECO_ID_{number}" for number in reversed(range(7))]
    assert found[0].HasField("time")
    wrong = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ["page_token"])
    assert refusal(lambda: books.page(3, "x")) == wrong
    assert refusal(lambda: books.page(500)) == ("INVALID_ARGUMENT", "FIELD_INVALID", ["page_size"])


def test_a_line_that_is_no_entry_hides_no_other(books: Books):
    append(books.log, Event("door", "verify", "RECO_ID_1", "verified", "r"))
    with books.log.open("ab") as log:
        log.write(b"\xff half a li\n")
    append(books.log, Event("door", "verify", "RECO_ID_2", "verified", "r"))
    assert [one.person_id for one in books.page().entries] == ["RECO_ID_2", "", "RECO_ID_1"]
    assert books.page().entries[1].outcome == "is not an entry"
