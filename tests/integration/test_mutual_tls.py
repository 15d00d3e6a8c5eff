"""Where services know each other by certificates, nobody else gets in: real certificates, real connections."""

import stat
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from reco.access.v1 import ext_authz_pb2_grpc
from reco.detector.v1 import detector_pb2_grpc
from reco.gateway.v1 import legacy_pb2, legacy_pb2_grpc

from deploy.docker import certificates, probe
from services.common.mutual_tls import AUTHORITY, CERTIFICATE, KEY, Identity, open_channel_to
from services.common.server import Server, ServerOptions
from services.common.workers import Workers
from services.detector import quality
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from services.gateway.access.decision import Access
from services.gateway.access.keyring import AccessKeys
from services.gateway.access.keys import KeyTable
from services.gateway.api.authorisation import AuthorizationServicer
from services.gateway.stages.channels import StageUnavailable, open_channel
from services.gateway.stages.detector import DetectorClient
from tests.e2e.envoy import Envoy

SCORE = 7.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One authority's: a folder for each service."""
    made = tmp_path_factory.mktemp("tls")
    assert certificates.make(made, together=False)
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Of another authority, which calls it by all names."""
    made = tmp_path_factory.mktemp("other")
    certificates.make(made, together=True)
    return Identity.read(made)


def serve(identity: Identity | None) -> Server:
    """A detector."""
    answer = quality.Quality(SCORE, quality.Components(*[1.0] * len(quality.Components.__dataclass_fields__)))
    servicer = DetectorServicer(SimpleNamespace(score_image=lambda image: answer), Workers(1))
    options = ServerOptions("127.0.0.1:0", identity=identity, callers=("gateway", "detector"))
    server = Server(
        options, {SERVICE: lambda server: detector_pb2_grpc.add_DetectorServiceServicer_to_server(servicer, server)}
    )
    server.start()
    return server


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    server = serve(Identity.read(folder / "detector"))
    yield f"127.0.0.1:{server.port}"
    server.stop(0)


def check(channel: grpc.Channel) -> grpc.StatusCode:
    """How a question about health ends; a connection that is refused is told at once."""
    with channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.RpcError as err:
            return err.code()
    return grpc.StatusCode.OK


def test_the_gateway_is_served(folder: Path, address: str):
    channel = open_channel(address, name="detector", identity=Identity.read(folder / "gateway"))
    assert DetectorClient(channel).score(b"photo").score == SCORE


def test_the_service_itself_may_ask_after_its_health(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_SERVICE", "detector")
    monkeypatch.setenv("RECO_MTLS", str(folder / "detector"))
    assert probe.ask(address) == "SERVING"
    monkeypatch.delenv("RECO_MTLS")
    assert "UNAVAILABLE" in probe.ask(address)


def test_who_shows_no_certificate_is_refused(folder: Path, address: str):
    assert check(grpc.insecure_channel(address)) is grpc.StatusCode.UNAVAILABLE
    authority = (folder / "gateway" / AUTHORITY).read_bytes()
    named = [("grpc.ssl_target_name_override", "detector")]
    anonymous = grpc.secure_channel(address, grpc.ssl_channel_credentials(authority), named)
    assert check(anonymous) is grpc.StatusCode.UNAVAILABLE


def test_who_shows_another_authoritys_certificate_is_refused(folder: Path, address: str, stranger: Identity):
    deceiving = Identity((folder / "gateway" / AUTHORITY).read_bytes(), stranger.certificate, stranger.key)
    assert check(open_channel_to("detector", address, deceiving)) is grpc.StatusCode.UNAVAILABLE
    assert check(open_channel_to("detector", address, stranger)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", ["embedder", "envoy"])
def test_a_service_may_not_call_whom_it_has_no_business_with(name: str, folder: Path, address: str):
    identity = Identity.read(folder / name)
    assert check(open_channel_to("detector", address, identity)) is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(StageUnavailable, match="PERMISSION_DENIED"):
        DetectorClient(open_channel(address, name="detector", identity=identity)).score(b"photo")
    with open_channel_to("detector", address, identity) as channel, pytest.raises(grpc.RpcError) as refused:
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("posing", ["embedder", "stranger", "plain"])
def test_the_gateway_sends_no_photo_to_whom_it_does_not_know(posing: str, folder: Path, stranger: Identity):
    identity = {"embedder": Identity.read(folder / "embedder"), "stranger": stranger, "plain": None}[posing]
    server = serve(identity)
    channel = open_channel_to("detector", f"127.0.0.1:{server.port}", Identity.read(folder / "gateway"))
    assert check(channel) is grpc.StatusCode.UNAVAILABLE
    server.stop(0)


class _Gateway(legacy_pb2_grpc.LegacyServiceServicer):
    """Counts."""

    def __init__(self) -> None:
        self.calls = 0

    def Verify(self, request: legacy_pb2.LegacyFormRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        self.calls += 1
        return httpbody_pb2.HttpBody(content_type="text/plain", data=b"verified")


def test_envoy_knows_its_gateways_and_they_know_it(folder: Path, stranger: Identity, tmp_path: Path):
    """Of three, one is the gateway, one shows another service's certificate, one another authority's."""
    identities = [Identity.read(folder / "gateway"), Identity.read(folder / "embedder"), stranger]
    gateways = [_Gateway() for _ in identities]
    authorization = AuthorizationServicer(Access(AccessKeys(KeyTable), allow_anonymous=True), lambda event: None)
    with ExitStack() as stack:
        ports = []
        for gateway, identity in zip(gateways, identities, strict=True):
            options = ServerOptions("127.0.0.1:0", identity=identity, callers=("envoy", "gateway"))
            services = {
                "reco.gateway.v1.LegacyService": partial(legacy_pb2_grpc.add_LegacyServiceServicer_to_server, gateway),
                "envoy.service.auth.v3.Authorization": partial(
                    ext_authz_pb2_grpc.add_AuthorizationServicer_to_server, authorization
                ),
            }
            server = Server(options, services)
            server.start()
            stack.callback(server.stop, 0)
            ports.append(server.port)
        envoy = stack.enter_context(Envoy(tmp_path, ports, known=1, mtls=folder / "envoy"))
        for _ in range(10):
            with urllib.request.urlopen(f"http://127.0.0.1:{envoy.port}/verify", b"a=b", timeout=30) as answer:
                assert answer.read() == b"verified"
    assert [gateway.calls for gateway in gateways] == [10, 0, 0]


def test_certificates_are_made_once_and_their_keys_are_private(tmp_path: Path):
    assert certificates.main([str(tmp_path / "tls")]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "tls").rglob("*.*")}
    assert {path.name for path in before} == {AUTHORITY, CERTIFICATE, KEY} and len(before) == 15
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in before)
    assert not certificates.make(tmp_path / "tls", together=False)
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_MTLS", str(tmp_path))
    with pytest.raises(SystemExit, match="RECO_MTLS: .*ca.crt"):
        Identity.of_environment()
    monkeypatch.setenv("RECO_MTLS", "")
    assert Identity.of_environment() is None
