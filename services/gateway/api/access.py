"""The typed API's keys and audit log, reco.gateway.v1.AccessService: proto to domain and back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from reco.gateway.v1 import access_pb2 as pb
from reco.gateway.v1 import access_pb2_grpc

from services.common import call
from services.gateway.access.audit import Entry, Event, latest
from services.gateway.access.keys import ANONYMOUS, Key, KeyNeeded, KeyTable, seconds_of
from services.gateway.access.roles import Role
from services.gateway.api.page_tokens import AuditFilter, read_token, write_token
from services.gateway.api.people import MAX_PAGE_SIZE, PAGE_SIZE
from services.gateway.api.problems import check_number
from services.gateway.errors import InvalidField


@dataclass(frozen=True)
class AccessBooks:
    """Where keys and the audit log are kept.

    Attributes:
        keys: opens the table that the settings name now; may raise RecoError.
        audit_path: says where the audit log is; may raise EnvInvalid.
        record: writes an event to it.
    """

    keys: Callable[[], KeyTable]
    audit_path: Callable[[], Path]
    record: Callable[[Event], None]


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    """Keys and the audit log, typed."""

    def __init__(self, books: AccessBooks):
        self._books = books

    def ListKeys(self, request: pb.ListKeysRequest, context: grpc.ServicerContext) -> pb.ListKeysResponse:
        return pb.ListKeysResponse(keys=map(_from_key, self._books.keys().all()))

    def CreateKey(self, request: pb.CreateKeyRequest, context: grpc.ServicerContext) -> pb.CreateKeyResponse:
        if call.key_name.get() == ANONYMOUS:
            raise KeyNeeded("the first key is made on the machine itself: make key NAME=admin ROLE=admin")
        if request.role not in list(Role):
            raise InvalidField("role", f"one of {', '.join(Role)} is wanted")
        lifetime = seconds_of(request.lifetime) if request.lifetime else None
        table = self._books.keys()
        secret = table.add(request.name, Role(request.role), lifetime)
        self._record("make_key", request.name, request.role)
        return pb.CreateKeyResponse(key=_find(table, request.name), secret=secret)

    def RevokeKey(self, request: pb.RevokeKeyRequest, context: grpc.ServicerContext) -> pb.Key:
        table = self._books.keys()
        table.revoke(request.name)
        self._record("revoke_key", request.name, "revoked")
        return _find(table, request.name)

    def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: grpc.ServicerContext
    ) -> pb.ListAuditEntriesResponse:
        size = check_number("page_size", request.page_size, MAX_PAGE_SIZE, PAGE_SIZE)
        before = read_token("page_token", request.page_token, AuditFilter())
        found, begin = latest(self._books.audit_path(), before[1] if before else None, size)
        token = write_token((begin, begin), AuditFilter()) if begin else ""
        return pb.ListAuditEntriesResponse(entries=map(_from_entry, found), next_page_token=token)

    def _record(self, action: str, name: str, outcome: str) -> None:
        self._books.record(Event(call.key_name.get(), action, name, outcome, call.request_id.get()))


def _find(table: KeyTable, name: str) -> pb.Key:
    return next(_from_key(key) for key in table.all() if key.name == name)


def _from_key(key: Key) -> pb.Key:
    valid = pb.Key.STATE_VALID if key.is_valid(time.time()) else pb.Key.STATE_EXPIRED
    return pb.Key(
        name=key.name,
        role=key.role.value,
        state=valid if key.revoked is None else pb.Key.STATE_REVOKED,
        create_time=_time(key.created),
        expire_time=_time(key.expires),
        last_use_time=_time(key.last_used),
        revoke_time=_time(key.revoked),
    )


def _time(seconds: int | None) -> Timestamp | None:
    return None if seconds is None else Timestamp(seconds=seconds)


def _from_entry(entry: Entry) -> pb.AuditEntry:
    event, when = entry.event, Timestamp()
    if event is None:
        return pb.AuditEntry(outcome=entry.problem)
    when.FromDatetime(datetime.fromisoformat(entry.time))
    return pb.AuditEntry(
        time=when,
        key=event.key,
        action=event.action,
        person_id=event.person,
        outcome=event.outcome,
        request_id=event.request,
    )
