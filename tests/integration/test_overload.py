"""A stage with too much to do refuses at once; the gateway's pipeline learns that trying again later is right."""

from types import SimpleNamespace

import grpc
import pytest
from reco.detector.v1 import detector_pb2, detector_pb2_grpc

from services.common.server import Server, ServerOptions
from services.common.workers import Workers
from services.detector.server import SERVICE
from services.detector.servicer import DetectorServicer
from services.gateway.stages.channels import StageUnavailable, open_channel, reason_of
from services.gateway.stages.detector import DetectorClient


@pytest.fixture
def address():
    """A detector in whose queue nothing fits."""
    servicer = DetectorServicer(SimpleNamespace(prepare_faces=len), Workers(0, waiting=0))
    add = detector_pb2_grpc.add_DetectorServiceServicer_to_server
    server = Server(ServerOptions("127.0.0.1:0"), {SERVICE: lambda grpc_server: add(servicer, grpc_server)})
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def test_a_full_queue_is_resource_exhausted_with_retry_after(address):
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        detector_pb2_grpc.DetectorServiceStub(channel).PrepareFaces(detector_pb2.PrepareFacesRequest(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(refused.value) == "OVERLOADED"
    assert dict(refused.value.trailing_metadata())["retry-after"] == "1"


def test_to_the_gateway_an_overloaded_stage_is_unavailable(address):
    with pytest.raises(StageUnavailable, match="RESOURCE_EXHAUSTED") as refused:
        DetectorClient(open_channel(address)).prepare(b"", (224, 224), 0)
    assert refused.value.status == "UNAVAILABLE"  # which Envoy makes HTTP 503 of, with the retry-after of the boundary
