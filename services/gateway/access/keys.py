"""Keys of clients: how they are made, and the table `reco_keys` that remembers them.

The table holds a key's SHA-256 and never the key. A fast digest suffices, unlike for a password: a key is 32 random bytes,
which nobody finds by trying, whatever a try costs.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, func, insert, inspect, select, update

from services.common.database import reading, writing
from services.common.errors import InvalidRequest, RecoError
from services.gateway.access.roles import Role
from services.gateway.storage.tables import tables_of

#: What all keys begin with, so that one that got into a text or a repository is recognised as what it is.
PREFIX = "reco_"

#: How a key may be named; it is shown in lists and in the audit log, and sent in a header.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Who asks without a key.
ANONYMOUS = "anonymous"

#: Who makes and revokes keys, and who erases people whom nobody uses any more.
OPERATOR = "operator"
RETENTION = "retention"

_SECONDS = {"h": 3600, "d": 86400, "y": 365 * 86400}


class KeyRefused(InvalidRequest):
    """A key cannot be made or revoked so; the message says what fits."""

    reason = "KEY_REFUSED"


class KeyNeeded(RecoError):
    """Only who has a key may do that."""

    status = "PERMISSION_DENIED"
    reason = "KEY_NEEDED"


@dataclass(frozen=True)
class Key:
    """A key as the table has it. Times are whole seconds since 1970, None where there is none.

    Attributes:
        digest: SHA-256 of the key, in hexadecimal.
        last_used: about when, to a minute.
    """

    digest: str
    name: str
    role: Role
    created: int
    expires: int | None = None
    last_used: int | None = None
    revoked: int | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


def digest_of(secret: str) -> str:
    """What the table keeps of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """A new key: `reco_` and 32 random bytes in URL-safe base64."""
    return PREFIX + secrets.token_urlsafe(32)


def seconds_of(span: str) -> int:
    """A span of time, such as `12h`, `90d` or `1y`, in seconds.

    Raises:
        KeyRefused: it is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})([hdy])", span)
    if not match:
        raise KeyRefused(f"{span!r} is not a span of time; 12h, 90d or 1y is")
    return int(match[1]) * _SECONDS[match[2]]


class KeyTable:
    """`reco_keys` in the database of people; the table is made with the first key. Errors as in common/database.py."""

    def __init__(self, engine: Engine, people_table: str):
        """`people_table`: the one that the gateway's tables stand beside."""
        self._engine = engine
        self._tables = tables_of(people_table)
        self._keys = self._tables.keys
        self._known = False

    def all(self) -> list[Key]:
        """Every key that was ever made, in order of age."""
        with reading(self._engine) as connection:
            self._known = self._known or inspect(connection).has_table(self._keys.name)
            if not self._known:
                return []
            rows = connection.execute(select(self._keys).order_by("created", "name")).mappings()
            return [Key(**{**row, "role": Role(row["role"])}) for row in rows]

    def add(self, name: str, role: Role, lifetime: int | None, now: float | None = None) -> str:
        """Makes a key and gives it: it is not kept, and cannot be had again.

        Args:
            name: see NAME; of no other key, revoked ones included, so that the audit log is plain about who it was.
            lifetime: seconds; None for ever.

        Raises:
            KeyRefused: the name does not fit.
        """
        if not NAME.fullmatch(name) or name in (ANONYMOUS, OPERATOR, RETENTION):
            raise KeyRefused(f"{name!r} is no name for a key; use up to 64 letters, digits, '.', '-' and '_'")
        created, secret = int(time.time() if now is None else now), new_secret()
        row: dict[str, object] = {"digest": digest_of(secret), "name": name, "role": role.value, "created": created}
        row["expires"] = None if lifetime is None else created + lifetime
        self._tables.schema.prepare(self._engine)
        with writing(self._engine) as connection:
            if connection.execute(select(self._keys.c.name).where(self._keys.c.name == name)).first():
                raise KeyRefused(f"there is, or was, a key named {name!r}; take another name")
            connection.execute(insert(self._keys).values(row))
        return secret

    def revoke(self, name: str, now: float | None = None) -> None:
        """Makes a key worthless, for ever.

        Raises:
            KeyRefused: there is none of that name, or it is revoked already.
        """
        keys, when = self._keys, int(time.time() if now is None else now)
        if name not in [key.name for key in self.all() if key.revoked is None]:
            raise KeyRefused(f"there is no key named {name!r} that could be revoked; see: make keys")
        with writing(self._engine) as connection:
            connection.execute(update(keys).where(keys.c.name == name, keys.c.revoked.is_(None)).values(revoked=when))

    def used(self, times: Mapping[str, int]) -> None:
        """Notes when keys, by digest, were used; a later time that is noted already stays."""
        keys = self._keys
        with writing(self._engine) as connection:
            for digest, when in times.items():
                older = func.coalesce(keys.c.last_used, 0) < when
                connection.execute(update(keys).where(keys.c.digest == digest, older).values(last_used=when))
