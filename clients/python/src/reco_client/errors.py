"""What can go wrong, as exceptions."""

import json
from collections.abc import Mapping
from typing import Any


class RecoError(Exception):
    """A request that was not answered as asked.

    Attributes:
        reason: for programs, such as NOT_ENROLLED (docs/api.md lists them); empty where there is none.
        fields: what is wrong with each field that is at fault, by its name.
        status: of HTTP; 0 where nothing was answered.
    """

    def __init__(self, message: str, reason: str = "", fields: Mapping[str, str] | None = None, status: int = 0):
        super().__init__(message)
        self.reason = reason
        self.fields = dict(fields or {})
        self.status = status


class InvalidRequest(RecoError):
    """Something about the request does not fit, or the state of things is against it: 400, 405."""


class NotAllowed(RecoError):
    """The key is missing, wrong or too old, or its role may not do this: 401, 403."""


class NotFound(RecoError):
    """There is no such person, photo or method: 404."""


class Conflict(RecoError):
    """The person, or somebody who looks the same, is enrolled already: 409."""


class TooLarge(RecoError):
    """More than a request may hold: 413."""


class Limited(RecoError):
    """Asked too often, also after waiting: 429."""


class Unavailable(RecoError):
    """Not reached, not answered in time, or not able to answer now: connection errors, timeouts, 5xx."""


_OF_STATUS: dict[int, type[RecoError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: Limited,
}


def error_of(status: int, body: bytes) -> RecoError:
    """The exception for an answer that is a refusal; its body may be anything."""
    message, reason, fields = _told(body)
    kind = _OF_STATUS.get(status, Unavailable if status >= 500 else InvalidRequest)
    return kind(message or f"HTTP {status}", reason, fields, status)


def _told(body: bytes) -> tuple[str, str, dict[str, str]]:
    """Message, reason and fields of a google.rpc.Status."""
    try:
        status = json.loads(body)
    except ValueError:
        return "", "", {}
    if not isinstance(status, dict):
        return "", "", {}
    reason, fields = "", {}
    for detail in _objects(status.get("details")):
        kind = str(detail.get("@type", "")).rpartition(".")[2]
        if kind == "ErrorInfo":
            reason = str(detail.get("reason", ""))
        elif kind == "BadRequest":
            violations = _objects(detail.get("field_violations"))
            fields.update({str(one.get("field", "")): str(one.get("description", "")) for one in violations})
    return str(status.get("message", "")), reason, fields


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
