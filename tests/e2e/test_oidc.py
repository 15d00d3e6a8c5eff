"""Tokens of OpenID Connect beside keys, by real Envoy and an issuer whose keys are fetched over TLS."""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from services.gateway.access.audit import entries
from tests.e2e.issuer import Issuer
from tests.e2e.system import System
from tests.e2e.test_access import access
from tests.machine import ROOT


@dataclass(frozen=True)
class Trusting:
    """A system that trusts an issuer, and has one key of its own."""

    system: System
    issuer: Issuer
    key: str

    def erase(self, **headers: str) -> int:
        """What the status is of erasing somebody, which takes an administrator."""
        connection = http.client.HTTPConnection("localhost", self.system.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("DELETE", "/v1/people/RECO_ID_1", headers=sent)
        answer = connection.getresponse()
        json.load(answer)
        return answer.status


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    folder = tmp_path_factory.mktemp("oidc")
    subprocess.run(["make", "cert", f"TLS_FOLDER={folder}/tls"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    with Issuer(folder, folder / "tls" / "cert.pem", folder / "tls" / "key.pem") as issuer:
        (folder / "system").mkdir()
        system = System(folder / "system", environment=issuer.settings)
        key = access(folder / "system", "new", "--name", "admin", "--role", "admin")
        with system:
            yield Trusting(system, issuer, key)


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("verify", 403), ("king", 403), (None, 403), (["admin"], 403)]
)
def test_a_token_has_the_role_that_it_says(trusting: Trusting, role: object, status: int):
    assert trusting.erase(authorization=f"Bearer {trusting.issuer.token(reco_role=role)}") == status


@pytest.mark.parametrize(
    "claims",
    [{"exp": int(time.time()) - 3600}, {"exp": None}, {"iss": "https://else.example"}, {"aud": "else"}, {"aud": None}],
)
def test_a_token_that_is_not_valid_is_none(trusting: Trusting, claims: dict[str, object]):
    assert trusting.erase(authorization=f"Bearer {trusting.issuer.token(reco_role='admin', **claims)}") == 401


def test_a_token_that_was_changed_is_none(trusting: Trusting):
    head, _, signature = trusting.issuer.token(reco_role="verify").split(".")
    _, claims, _ = trusting.issuer.token(reco_role="admin").split(".")
    assert trusting.erase(authorization=f"Bearer {head}.{claims}.{signature}") == 401
    assert trusting.erase(authorization=f"Bearer {head}.{claims}.") == 401


def test_keys_work_as_before_and_without_either_nobody_gets_in(trusting: Trusting):
    assert trusting.erase(authorization=f"Bearer {trusting.key}") == 200
    assert trusting.erase(x_api_key=trusting.key) == 200
    assert trusting.erase() == 401


def test_nobody_says_of_himself_that_he_has_a_token(trusting: Trusting):
    said = {"x_reco_token_name": "ann", "x_reco_token_role": "admin"}
    assert trusting.erase(**said) == 401
    token = trusting.issuer.token(reco_role="verify")
    assert trusting.erase(authorization=f"Bearer {token}", **said) == 403
    assert trusting.erase(authorization=f"Bearer {trusting.issuer.token()}", **said) == 403


def test_the_audit_log_names_the_tokens_subject(trusting: Trusting):
    trusting.erase(authorization=f"Bearer {trusting.issuer.token(reco_role='admin', sub='bob')}")
    log = trusting.system.folder / "var" / "log" / "audit.log"
    assert [entry.event.key for entry in entries(log) if entry.event][-1] == "oidc:bob"
