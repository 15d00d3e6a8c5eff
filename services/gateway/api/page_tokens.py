"""Page tokens of lists: where the next page begins, and of which list; opaque to clients, and checked when they return."""

import base64
import binascii
import json
from dataclasses import astuple, dataclass
from hashlib import blake2b

from services.gateway.errors import InvalidField
from services.gateway.pipeline.duplicates import ConflictFilter
from services.gateway.storage.profiles import Order, PeopleFilter, Position

#: Characters of a token: more than any name takes.
MAX_TOKEN = 4096

#: Row numbers and times end here.
MAX_NUMBER = (1 << 63) - 1


@dataclass(frozen=True)
class AuditFilter:
    """Of the audit log all entries, from its end on."""

    order: Order = Order.TIME


@dataclass(frozen=True)
class ExportFilter:
    """All people with their photos, by rows and names of photos."""

    order: Order = Order.NAME


@dataclass(frozen=True)
class UploadsFilter:
    """All uploads that wait, by their IDs."""

    order: Order = Order.NAME
    uploads: bool = True  # unlike any other list's


Wanted = PeopleFilter | ConflictFilter | AuditFilter | ExportFilter | UploadsFilter


def write_token(position: Position, wanted: Wanted) -> str:
    """The token of the page that begins behind a place in a list."""
    content = json.dumps([_digest(wanted), *position], ensure_ascii=False)
    return base64.urlsafe_b64encode(content.encode()).decode()


def read_token(field: str, token: str, wanted: Wanted) -> Position | None:
    """The place behind which a page begins; None for the first one, which has no token.

    Raises:
        InvalidField: it is none that `write_token` gives, or one of another list.
    """
    if not token:
        return None
    try:
        digest, key, record_id = json.loads(base64.b64decode(token[:MAX_TOKEN], b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidField(field, "this is no token of a page", "PAGE_TOKEN_INVALID") from None
    if digest != _digest(wanted):
        raise InvalidField(field, "this token is of another list: ask as for the page before", "PAGE_TOKEN_INVALID")
    if not (_is_number(record_id) and (isinstance(key, str) if wanted.order is Order.NAME else _is_number(key))):
        raise InvalidField(field, "this is no token of a page", "PAGE_TOKEN_INVALID")
    return key, record_id


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _digest(wanted: Wanted) -> str:
    return blake2b(json.dumps(astuple(wanted), default=str).encode(), digest_size=8).hexdigest()
