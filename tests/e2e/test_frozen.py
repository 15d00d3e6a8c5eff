"""A stage that does not answer is left out within seconds: requests are refused, or answered by another copy of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from reco.gateway.v1 import faces_pb2, faces_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from tests.e2e.services import Services
from tests.e2e.system import System

LONG = 30.0  # seconds of a call, more than it takes until a stage is left out


@contextmanager
def frozen(services: Services, name: str) -> Iterator[None]:
    """As a process is that waits for a disk, or whose machine swaps."""
    os.kill(services.pid(name), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(services.pid(name), signal.SIGCONT)


@pytest.fixture
def faces(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Services, faces_pb2_grpc.FacesServiceStub]]:
    System(tmp_path).write_env(NUM_AUG="0")  # only for its folders and .env
    names = ("detector", "embedder", "gateway", *request.param)
    with Services(tmp_path / ".env", names) as services, services.channel("gateway") as channel:
        yield services, faces_pb2_grpc.FacesServiceStub(channel)


IDENTIFY = faces_pb2.IdentifyFacesRequest(image=jpeg(astronaut()))


@pytest.mark.parametrize("faces", [()], indirect=True)
def test_without_another_copy_it_is_unavailable_until_it_answers_again(
    faces: tuple[Services, faces_pb2_grpc.FacesServiceStub],
):
    services, stub = faces
    assert len(stub.IdentifyFaces(IDENTIFY, timeout=LONG).faces) == 1
    with frozen(services, "embedder"), pytest.raises(grpc.RpcError) as refused:
        stub.IdentifyFaces(IDENTIFY, timeout=LONG)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(refused.value.trailing_metadata())["retry-after"]
    assert len(stub.IdentifyFaces(IDENTIFY, timeout=LONG, wait_for_ready=True).faces) == 1


@pytest.mark.parametrize("faces", [("embedder-2",)], indirect=True)
def test_another_copy_answers(faces: tuple[Services, faces_pb2_grpc.FacesServiceStub]):
    services, stub = faces
    for _ in range(4):
        stub.IdentifyFaces(IDENTIFY, timeout=LONG)
    with frozen(services, "embedder-2"):
        for _ in range(4):
            assert len(stub.IdentifyFaces(IDENTIFY, timeout=LONG).faces) == 1
