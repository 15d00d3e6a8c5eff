"""Whole services with their search index in Milvus: in a file for one embedder, in a real server for two."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import pytest
from reco.embedder.v1 import embedder_pb2 as pb
from reco.embedder.v1 import embedder_pb2_grpc
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from services.detector.servicer import from_crop
from services.gateway.stages.channels import reason_of
from tests.e2e.services import Services
from tests.e2e.system import System
from tests.e2e.test_copies import FOUND_NONE, FOUND_SAME, PERSON, upload, verify
from tests.fakes import fake_crop
from tests.milvus import RealServer, require_milvus

MODEL = "Dlib"
COSINE = pb.DISTANCE_COSINE

require = pytest.fixture(require_milvus, autouse=True)


@pytest.fixture
def folder(tmp_path):
    System(tmp_path)  # only for its folders and .env
    return tmp_path


@pytest.fixture
def milvus(folder) -> Iterator[RealServer]:
    if RealServer.missing:
        pytest.skip(RealServer.missing)
    with RealServer(folder) as server:
        yield server


def stub(services: Services, name: str = "embedder") -> embedder_pb2_grpc.EmbedderServiceStub:
    return embedder_pb2_grpc.EmbedderServiceStub(services.channel(name))


def template(embedder, *numbers: float) -> pb.Template:
    """A made-up one of the model that runs."""
    request = pb.EmbedFacesRequest(models=[MODEL], faces=[from_crop(fake_crop(1))])
    version = embedder.EmbedFaces(request, timeout=60).faces[0].templates[0].model_version
    return pb.Template(model=MODEL, model_version=version, vector=[*numbers, *[0.0] * (128 - len(numbers))])


def enroll(embedder, person_id: str, *templates: pb.Template) -> None:
    photos = [pb.GalleryPhoto(photo_id=f"{number}.png", templates=[one]) for number, one in enumerate(templates)]
    embedder.EnrollFaces(pb.EnrollFacesRequest(person_id=person_id, models=[MODEL], photos=photos), timeout=60)


def identify(embedder, *templates: pb.Template) -> list[tuple[str, float]]:
    probes = [pb.Probe(templates=[one]) for one in templates]
    request = pb.IdentifyFacesRequest(models=[MODEL], distance=COSINE, probes=probes)
    return [(match.person_id, match.distance) for match in embedder.IdentifyFaces(request, timeout=60).matches]


def rebuilt(embedder) -> int:
    return embedder.RebuildIndex(pb.RebuildIndexRequest(models=[MODEL]), timeout=60).indexes[0].templates


def eventually(call: Callable[[], int]) -> int:
    """The answer, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(grpc.RpcError):
            return call()
    return call()


def test_one_embedder_and_a_file(folder, monkeypatch):
    monkeypatch.setenv("VECTOR_URI", str(folder / "vectors.db"))
    with Services(folder / ".env", ("embedder",)) as services:
        embedder = stub(services)
        anna, bob = template(embedder, 1.0), template(embedder, 0.0, 1.0)
        enroll(embedder, "anna", anna, anna)
        enroll(embedder, "bob", bob)
        assert identify(embedder, anna) == [("anna", 0.0)]
        assert identify(embedder, bob, anna) == [("anna", 0.0), ("bob", 0.0)]
        assert embedder.RemovePerson(pb.RemovePersonRequest(person_id="anna")).removed_photos == 2
        assert identify(embedder, bob, anna) == [("bob", 0.0)]
        assert rebuilt(embedder) == 1
        enroll(embedder, "anna", anna)
        services.kill("embedder")
        services.start("embedder")
        services.wait("embedder")
        embedder = stub(services)
        assert identify(embedder, bob, anna) == [("anna", 0.0), ("bob", 0.0)]
        assert embedder.DropTemplates(pb.DropTemplatesRequest()).dropped_templates == 2
        assert identify(embedder, bob, anna) == []
        enroll(embedder, "carl", bob)
        assert identify(embedder, bob, anna) == [("carl", 0.0)]


def test_two_embedders_share_one_index(folder, milvus: RealServer, monkeypatch):
    monkeypatch.setenv("VECTOR_URI", milvus.uri)
    with Services(folder / ".env", ("embedder", "embedder-2")) as services:
        one, two = stub(services), stub(services, "embedder-2")
        anna, bob = template(one, 1.0), template(one, 0.0, 1.0)
        for first, second in ((one, two), (two, one)):
            enroll(first, "anna", anna)
            assert identify(second, anna) == [("anna", 0.0)]
            enroll(second, "anna", bob)
            assert identify(first, anna) == []
            assert rebuilt(first) == 1
            assert identify(second, bob) == [("anna", 0.0)]
            second.RemovePerson(pb.RemovePersonRequest(person_id="anna"))
            assert identify(first, bob) == identify(second, bob) == []


def test_an_outage_is_said_to_be_one_and_heals(folder, milvus: RealServer, monkeypatch):
    monkeypatch.setenv("VECTOR_URI", milvus.uri)
    with Services(folder / ".env") as services:
        gateway = gateway_pb2_grpc.GatewayServiceStub(services.channel("gateway"))
        enroll = gateway_pb2.EnrollPersonRequest(upload_id=upload(gateway), name="Eileen")
        probe = upload(gateway, 1.05)
        assert verify(gateway, probe, skip_verify=True) == FOUND_NONE
        milvus.stop()
        gateway.EnrollPerson(enroll, timeout=60)  # what is enrolled is in SQL
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                verify(gateway, probe, skip_verify=True)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert reason_of(caught.value) == "STAGE_UNAVAILABLE"
            assert "vector database" in caught.value.details()
        milvus.start()
        assert eventually(lambda: verify(gateway, probe, skip_verify=True)) == FOUND_SAME
        assert gateway.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60).existed
