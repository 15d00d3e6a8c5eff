"""Who is let in, by real Envoy: keys and roles over REST, /v1 and gRPC, before a body is read; and what is audited."""

import http.client
import json
import os
import ssl
import stat
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from deploy.local.client import Client
from deploy.local.demo import astronaut, jpeg
from services.gateway.access.audit import Event, entries
from services.gateway.access.keyring import INTERVAL
from tests.e2e.keys import access
from tests.e2e.system import System
from tests.machine import ROOT, free_port, free_ports

#: Verifications of one ID a minute.
ATTEMPTS = 5

#: Seconds within which a change of keys is in force.
SOON = INTERVAL + 1

ENDPOINTS = [
    "/upload_imgs?id=RECO_ID_1",
    "/upload_db",
    "/verify",
    "/v1/uploads",
    "/v1/people:enroll",
    "/v1/people:verify",
    "/v1/people",
    "/v1/people/RECO_ID_1/photos",
]


@dataclass(frozen=True)
class Guarded:
    """A running system with a key for each role."""

    system: System
    keys: dict[str, str]

    def client(self, role: str) -> Client:
        return Client(f"http://localhost:{self.system.port}", key=self.keys[role])

    def new_key(self, name: str, role: str) -> str:
        """One that is in force when this returns."""
        key = access(self.system.folder, "new", "--name", name, "--role", role)
        time.sleep(SOON)
        return key

    def audit(self) -> list[Event]:
        read = list(entries(self.system.folder / "var" / "log" / "audit.log"))
        assert not [entry for entry in read if entry.problem]
        return [entry.event for entry in read if entry.event]

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, Any], http.client.HTTPMessage]:
        """A request without a body: status, JSON, headers of the answer."""
        connection = http.client.HTTPConnection("localhost", self.system.port, timeout=10)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.load(answer), answer.headers

    def call(self, method: str, request: Message, **metadata: str) -> Any:
        """A call of the typed API, through Envoy."""
        with grpc.insecure_channel(f"localhost:{self.system.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
            return getattr(stub, method)(request, metadata=sent, timeout=30)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    system = System(folder, environment={"RECO_ATTEMPTS_PER_MINUTE": str(ATTEMPTS)}, SCORE_TOL="0.000")
    keys = {
        role: access(folder, "new", "--name", f"{role}-key", "--role", role) for role in ("verify", "enroll", "admin")
    }
    with system:
        yield Guarded(system, keys)


def refusal(guarded: Guarded, method: str, path: str, **headers: str) -> int:
    """The status of a request that is refused as it should be."""
    status, answer, answered = guarded.ask(method, path, **headers)
    assert answer["code"] == status and answer["message"] and list(answer) == ["code", "message"]
    assert (answered["www-authenticate"] == "Bearer") == (status == 401)
    assert answered["content-type"] == "application/json"
    return status


@pytest.mark.parametrize("path", ENDPOINTS)
def test_without_a_key_or_with_a_wrong_one_nobody_gets_in(guarded: Guarded, path: str):
    assert refusal(guarded, "POST", path) == 401
    for wrong in ("", "reco_wrong", guarded.keys["admin"] + "x", guarded.keys["admin"][:-1]):
        assert refusal(guarded, "POST", path, authorization=f"Bearer {wrong}") == 401
        assert refusal(guarded, "POST", path, x_api_key=wrong) == 401


def test_erasing_reading_and_unknown_paths_need_a_key_too(guarded: Guarded):
    assert refusal(guarded, "DELETE", "/v1/people/RECO_ID_1") == 401
    assert refusal(guarded, "GET", "/verify") == 401
    assert refusal(guarded, "GET", "/nowhere") == 401


def test_whether_it_is_ready_and_what_browsers_ask_beforehand_needs_no_key(guarded: Guarded):
    assert guarded.ask("GET", "/readyz")[:2] == (200, guarded.ask("GET", "/readyz", x_api_key="wrong")[1])
    connection = http.client.HTTPConnection("localhost", guarded.system.port, timeout=10)
    asked = {"Origin": "https://door.example", "Access-Control-Request-Method": "POST"}
    connection.request("OPTIONS", "/verify", headers=asked)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://door.example")
    assert answer.read() == b""
    assert refusal(guarded, "POST", "/verify", origin="https://door.example", x_body_whole="yes") == 401


@pytest.mark.parametrize("path", ["/upload_imgs?id=RECO_ID_1", "/v1/uploads", "/verify"])
@pytest.mark.parametrize("key", [{}, {"x-api-key": "wrong"}])
def test_the_refusal_comes_before_the_body(guarded: Guarded, path: str, key: dict[str, str]):
    """Of the 60 MB that are announced not one byte is sent."""
    connection = http.client.HTTPConnection("localhost", guarded.system.port, timeout=5)
    connection.putrequest("POST", path)
    for name, value in {"content-type": "multipart/form-data; boundary=x", "content-length": "60000000", **key}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 401 and json.load(answer)["code"] == 401


def test_a_role_that_does_not_suffice_is_forbidden(guarded: Guarded):
    verify, enroll = ({"authorization": f"Bearer {guarded.keys[role]}"} for role in ("verify", "enroll"))
    for path in ("/upload_db", "/v1/people:enroll", "/v1/people"):
        assert refusal(guarded, "POST", path, **verify) == 403
    assert refusal(guarded, "GET", "/v1/people?page_size=1", **verify) == 403
    for headers in (verify, enroll):
        assert refusal(guarded, "DELETE", "/v1/people/RECO_ID_1", **headers) == 403
        assert refusal(guarded, "DELETE", "/v1/people/RECO_ID_1/photos/x", **headers) == 403
        assert refusal(guarded, "GET", "/v1/people/RECO_ID_1/photos/x:image", **headers) == 403
        assert refusal(guarded, "GET", "/v1/people/RECO_ID_1/photos/x%3Aimage", **headers) == 403
        assert refusal(guarded, "DELETE", "/v1/people:verify/../RECO_ID_1", **headers) == 403
        assert refusal(guarded, "DELETE", "//v1//people/RECO_ID_1", **headers) == 403


def test_each_role_does_what_it_is_for(guarded: Guarded):
    """Over REST, by both headers, and over gRPC."""
    person = "RECO_ID_100"
    photo = {"a.jpg": jpeg(astronaut())}
    upload_id = guarded.client("enroll").upload(person, photo)["upload_results"]["upload_id"]
    assert guarded.client("enroll").upload_db(upload_id, "Ann Lee")["result_code"] == 800
    probe = guarded.client("verify").upload(person, photo)["upload_results"]["upload_id"]
    assert guarded.client("verify").verify(probe, skip_liveness=True)["recognition_code"] == 200
    asked = gateway_pb2.VerifyPersonRequest(upload_id=probe, skip_liveness=True)
    verified = guarded.call("VerifyPerson", asked, authorization=f"Bearer {guarded.keys['verify']}")
    assert verified.outcome == gateway_pb2.VerifyPersonResponse.OUTCOME_VERIFIED
    assert guarded.ask("GET", f"/v1/people/{person}", x_api_key=guarded.keys["enroll"])[1]["display_name"] == "Ann Lee"
    assert guarded.ask("GET", "/v1/info", x_api_key=guarded.keys["verify"])[0] == 200
    status, answer, _ = guarded.ask("DELETE", f"/v1/people/{person}", x_api_key=guarded.keys["admin"])
    assert (status, answer) == (200, {"existed": True})


def test_the_same_over_v1(guarded: Guarded):
    """A JSON body under /v1, with a key of role verify."""
    connection = http.client.HTTPConnection("localhost", guarded.system.port, timeout=10)
    headers = {"content-type": "application/json", "x-api-key": guarded.keys["verify"]}
    connection.request("POST", "/v1/people:verify", json.dumps({"upload_id": "RECO_ID_1-1"}), headers)
    assert connection.getresponse().status == 404  # UPLOAD_UNKNOWN: it has got as far as the pipeline


@pytest.mark.parametrize(
    ("method", "key", "code"),
    [
        ("DeletePerson", "", grpc.StatusCode.UNAUTHENTICATED),
        ("DeletePerson", "wrong", grpc.StatusCode.UNAUTHENTICATED),
        ("DeletePerson", "verify", grpc.StatusCode.PERMISSION_DENIED),
        ("DeletePerson", "enroll", grpc.StatusCode.PERMISSION_DENIED),
        ("EnrollPerson", "verify", grpc.StatusCode.PERMISSION_DENIED),
        ("VerifyPerson", "", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_grpc_is_refused_likewise(guarded: Guarded, method: str, key: str, code: grpc.StatusCode):
    metadata = {"authorization": f"Bearer {guarded.keys.get(key, key)}"} if key else {}
    with pytest.raises(grpc.RpcError) as refused:
        guarded.call(method, getattr(gateway_pb2, f"{method}Request")(), **metadata)
    assert refused.value.code() is code and refused.value.details()


def test_reflection_is_for_administrators_and_health_for_all_keys(guarded: Guarded):
    def services(role: str) -> list[str]:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with grpc.insecure_channel(f"localhost:{guarded.system.port}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            sent = [("x-api-key", guarded.keys[role])]
            (answer,) = stub.ServerReflectionInfo(iter([request]), metadata=sent, timeout=10)
            return [service.name for service in answer.list_services_response.service]

    assert "reco.gateway.v1.GatewayService" in services("admin")
    with pytest.raises(grpc.RpcError) as refused:
        services("enroll")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with grpc.insecure_channel(f"localhost:{guarded.system.port}") as channel:
        stub, asked = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest()
        assert stub.Check(asked, metadata=[("x-api-key", guarded.keys["verify"])], timeout=10).status == 1
        with pytest.raises(grpc.RpcError):
            stub.Check(asked, timeout=10)


def test_nobody_but_envoy_asks_who_may_pass(guarded: Guarded):
    """The service that decides is reached by Envoy alone."""
    with grpc.insecure_channel(f"localhost:{guarded.system.port}") as channel:
        check = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")
        with pytest.raises(grpc.RpcError) as refused:
            check(b"", metadata=[("x-api-key", guarded.keys["admin"])], timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_whether_it_is_up_needs_no_key(guarded: Guarded):
    connection = http.client.HTTPConnection("localhost", guarded.system.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200


def test_a_new_key_works_and_a_revoked_one_stops_within_seconds(guarded: Guarded):
    key = guarded.new_key("visitor", "admin")
    assert guarded.ask("DELETE", "/v1/people/RECO_ID_1", x_api_key=key)[0] == 200
    access(guarded.system.folder, "revoke", "--name", "visitor")
    time.sleep(SOON)
    assert refusal(guarded, "DELETE", "/v1/people/RECO_ID_1", x_api_key=key) == 401


def test_the_audit_log_tells_who_did_what(guarded: Guarded):
    """By the key, whatever name a client gives itself."""
    guarded.new_key("eraser", "admin")
    before = len(guarded.audit())
    headers = {"x_api_key": guarded.keys["admin"], "x_reco_key_name": "eraser", "x_request_id": "r-1"}
    guarded.ask("DELETE", "/v1/people/RECO_ID_7", **headers)
    refusal(guarded, "DELETE", "/v1/people/RECO_ID_7", x_api_key=guarded.keys["verify"], x_request_id="r-2")
    refusal(guarded, "DELETE", "/v1/people/RECO_ID_7", x_request_id="r-3")
    assert guarded.audit()[before:] == [
        Event("admin-key", "erase", "RECO_ID_7", "NOT_ENROLLED", "r-1"),
        Event("verify-key", "deny", "DELETE /v1/people/RECO_ID_7", "FORBIDDEN", "r-2"),
    ]


def test_no_key_gets_into_a_log(guarded: Guarded):
    guarded.ask("POST", "/verify", authorization=f"Bearer {guarded.keys['verify']}")
    said = guarded.system.log() + "".join(
        path.read_text() for path in (guarded.system.folder / "var" / "log").iterdir()
    )
    assert not [role for role, key in guarded.keys.items() if key in said]


def test_an_id_can_be_claimed_so_often_a_minute(guarded: Guarded):
    client = guarded.client("verify")
    probe = client.upload("RECO_ID_200", {"a.jpg": jpeg(astronaut())})["upload_results"]["upload_id"]
    form = urllib.parse.urlencode(
        {"upload_id": probe, "skip_verify": "false", "skip_db_search": "true", "skip_liveness": "true"}
    )
    headers = {"x-api-key": guarded.keys["verify"], "content-type": "application/x-www-form-urlencoded"}

    def verify() -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("localhost", guarded.system.port, timeout=30)
        connection.request("POST", "/verify", form, headers)
        return connection.getresponse()

    answers = [verify() for _ in range(ATTEMPTS)]
    assert [json.load(answer)["recognition_code"] for answer in answers] == [116] * ATTEMPTS
    refused = verify()
    assert refused.status == 429 and json.load(refused)["message"].startswith("too many verifications")
    assert 1 <= int(refused.headers["retry-after"]) <= 60 / ATTEMPTS
    with pytest.raises(grpc.RpcError) as error:
        guarded.call("VerifyPerson", gateway_pb2.VerifyPersonRequest(upload_id=probe), x_api_key=guarded.keys["verify"])
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert guarded.audit()[-1].outcome == "TOO_MANY_ATTEMPTS"


def test_keys_hold_while_the_settings_are_broken(guarded: Guarded):
    guarded.system.write_env(SQL_URI="nonsense://", SCORE_TOL="0.000")
    try:
        time.sleep(SOON)
        assert refusal(guarded, "POST", "/verify") == 401
        assert guarded.client("verify").verify("RECO_ID_1-1")["recognition_code"] == 176
    finally:
        guarded.system.write_env(SCORE_TOL="0.000")
        time.sleep(SOON)


# where it may listen


def run(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """`make run` with options, on a system of its own."""
    System(folder)  # for its folders and .env
    numbers = ["--port", free_port(), "--admin-port", free_ports(5), "--base-port", free_ports(4)]
    files = ["--env-file", folder / ".env", "--state", folder / "var"]
    command = [sys.executable, "-m", "deploy.local.run", *map(str, [*numbers, *files]), *options]
    cache = {"RECO_CACHE": str(ROOT / "var" / "cache")}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **cache, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--listen", "0.0.0.0"], {}),
        (["--listen", "::"], {}),
        (["--listen", "0.0.0.0"], {"RECO_ALLOW_ANONYMOUS": ""}),
        ([], {"RECO_ALLOW_ANONYMOUS": "false"}),
    ],
)
def test_for_others_than_this_machine_it_needs_a_key(tmp_path: Path, options: list[str], environment: dict[str, str]):
    process = run(tmp_path, *options, **environment)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "make key NAME=admin ROLE=admin" in said and "RECO_ALLOW_ANONYMOUS=true" in said
    assert "started" not in said.replace("Nothing was started", "")


@pytest.mark.parametrize("with_key", [True, False])
def test_for_others_it_starts_with_a_key_or_where_that_is_said(tmp_path: Path, with_key: bool):
    System(tmp_path)
    if with_key:
        access(tmp_path, "new", "--name", "admin", "--role", "admin")
    process = run(tmp_path, "--listen", "0.0.0.0", **({} if with_key else {"RECO_ALLOW_ANONYMOUS": "true"}))
    try:
        assert process.stdout
        assert any("RECO is ready" in line for line in process.stdout)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_gateway_in_a_container_needs_a_key(tmp_path: Path):
    """It listens for others; the message tells how to make a key where there is no `make`."""
    System(tmp_path)
    environment = {
        **os.environ,
        "RECO_ENV_FILE": str(tmp_path / ".env"),
        "RECO_GATEWAY_LISTEN": f"0.0.0.0:{free_port()}",
    }
    command = [sys.executable, "-m", "services.gateway"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "python -m services.gateway.access new --name admin --role admin" in ended.stderr
    assert "Traceback" not in ended.stderr


# TLS


def test_tls_with_a_pair_that_make_cert_makes(tmp_path: Path):
    """REST and gRPC; nothing is answered in plain, and the key is for its owner alone."""
    made = ["make", "cert", f"TLS_FOLDER={tmp_path / 'tls'}", "NAMES=DNS:door.example"]
    subprocess.run(made, cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert subprocess.run(made, cwd=ROOT, capture_output=True, timeout=60).returncode, "a pair was written over"
    certificate, key = tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (tmp_path / "system").mkdir()
    pair = {"RECO_TLS_CERT": str(certificate), "RECO_TLS_KEY": str(key)}
    with System(tmp_path / "system", environment=pair) as system:
        trusting = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("localhost", system.port, timeout=10, context=trusting)
        connection.request("DELETE", "/v1/people/RECO_ID_1")
        assert json.load(connection.getresponse()) == {"existed": False}
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{system.port}", credentials) as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            assert not stub.DeletePerson(gateway_pb2.DeletePersonRequest(person_id="RECO_ID_1"), timeout=10).existed
        plain = http.client.HTTPConnection("localhost", system.port, timeout=10)
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.request("GET", "/healthz")
            plain.getresponse()


@pytest.mark.parametrize("name", ["RECO_TLS_CERT", "RECO_TLS_KEY"])
def test_half_a_pair_is_no_pair(tmp_path: Path, name: str):
    said, _ = (process := run(tmp_path, **{name: "x.pem"})).communicate(timeout=30)
    assert process.returncode == 1 and "both, or neither" in said
