"""Whether a request may pass: who asks, by which key, for what."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from services.gateway.access.keyring import AccessKeys
from services.gateway.access.keys import ANONYMOUS, digest_of
from services.gateway.access.roles import Role, needed_role

#: Headers by which Envoy tells whom a valid token of OpenID Connect is for, and what it says of their role. Envoy takes
#: them out of clients' requests.
TOKEN_NAME, TOKEN_ROLE = "x-reco-token-name", "x-reco-token-role"

#: Characters that are kept of a token's subject.
MAX_SUBJECT = 150

#: What to do where nobody can be let in yet.
NO_KEYS = "There is no key yet, and without one nobody is let in: make key NAME=admin ROLE=admin"


class Admission(Enum):
    """What becomes of a request."""

    PASSES = "passes"
    NEEDS_KEY = "needs a key"
    FORBIDDEN = "is forbidden"
    UNDECIDED = "cannot be decided now"


@dataclass(frozen=True)
class Decision:
    """What becomes of a request, and why in words for the client.

    Attributes:
        name: of the key, `oidc:` and the subject of a token, or ANONYMOUS.
    """

    verdict: Admission
    name: str = ANONYMOUS
    why: str = ""


class Access:
    """Decides by the keys that are in force."""

    def __init__(self, keyring: AccessKeys, allow_anonymous: bool):
        """`allow_anonymous`: whether all may do everything as long as no key exists."""
        self._keyring = keyring
        self._allow_anonymous = allow_anonymous

    def decide(self, method: str, path: str, headers: Mapping[str, str]) -> Decision:
        """Decides on a request.

        Args:
            method, path: see needed_role.
            headers: by name in lower case.
        """
        needed = needed_role(method, path)
        if needed is None:
            return Decision(Admission.PASSES)
        if TOKEN_NAME in headers:
            return _by_token(headers, needed)
        if self._keyring.is_empty:
            return self._without_keys()
        shown = shown_key(headers)
        if not shown:
            why = "A key is needed: send it as authorization: Bearer KEY, or as x-api-key: KEY."
            return Decision(Admission.NEEDS_KEY, why=why)
        key = self._keyring.find(digest_of(shown))
        if key is None:
            return Decision(Admission.NEEDS_KEY, why="This key is not known, was revoked, or has expired.")
        return _by_role(key.name, key.role, needed)

    def _without_keys(self) -> Decision:
        """No key exists, or whether one does is not known, since the database was not reached since the start: then
        nothing of people can be read or changed either, and whoever may do all as long as no key exists hears that."""
        if self._allow_anonymous:
            return Decision(Admission.PASSES)
        if not self._keyring.is_known:
            return Decision(Admission.UNDECIDED, why="The database that holds the keys cannot be reached.")
        return Decision(Admission.NEEDS_KEY, why=f"{NO_KEYS}.")


def _by_token(headers: Mapping[str, str], needed: Role) -> Decision:
    subject = quote(headers[TOKEN_NAME], safe="@.:+/|=")[:MAX_SUBJECT]  # it goes on in a header, which is plain text
    name, role = f"oidc:{subject}", headers.get(TOKEN_ROLE, "")
    if role not in list(Role):
        return Decision(Admission.FORBIDDEN, name, "This token gives no role.")
    return _by_role(name, Role(role), needed)


def _by_role(name: str, role: Role, needed: Role) -> Decision:
    if role.may(needed):
        return Decision(Admission.PASSES, name)
    return Decision(Admission.FORBIDDEN, name, f"This needs role {needed}; yours is {role}.")


def shown_key(headers: Mapping[str, str]) -> str:
    """The key that a request shows; empty where it shows none. A Bearer token goes before `x-api-key`."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return headers.get("x-api-key", "").strip()
