"""Bytes that are no message: the caller's fault in every service, said as such and without a trace of the server's code."""

import logging
from types import SimpleNamespace

import grpc
import pytest
from google.api import httpbody_pb2
from reco.detector.v1 import detector_pb2_grpc
from reco.gateway.v1 import gateway_pb2_grpc

from services.common.server import Server, ServerOptions
from services.common.workers import Workers
from services.detector.servicer import DetectorServicer
from services.gateway.api import legacy_requests
from services.gateway.stages.channels import reason_of

NO_MESSAGE = b"\xff\xff\xff\xff"
NOT_UTF8 = b"\x0a\x01\xff"  # field 1, a string

LEGACY, DETECTOR = "/reco.gateway.v1.LegacyService/", "/reco.detector.v1.DetectorService/"
GATEWAY = "/reco.gateway.v1.GatewayService/"


class Echo:
    """Takes the first message of a request, or the message, and answers with its ID and content type."""

    def UploadImgs(self, requests, context):
        first, *_ = requests
        return httpbody_pb2.HttpBody(content_type=first.id, data=first.body.content_type.encode() + first.body.data)

    def UploadDb(self, request, context):
        return httpbody_pb2.HttpBody(content_type=request.body.content_type, data=request.body.data)

    Verify = UploadDb


@pytest.fixture
def channel():
    detector = DetectorServicer(SimpleNamespace(), Workers(1))
    server = Server(
        ServerOptions("127.0.0.1:0"),
        {
            "reco.detector.v1.DetectorService": lambda s: detector_pb2_grpc.add_DetectorServiceServicer_to_server(
                detector, s
            ),
            "reco.gateway.v1.GatewayService": lambda s: gateway_pb2_grpc.add_GatewayServiceServicer_to_server(
                gateway_pb2_grpc.GatewayServiceServicer(), s
            ),
            legacy_requests.SERVICE: lambda s: legacy_requests.add_to_server(Echo(), s),
        },
    )
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    server.stop(0)


def call(channel, method: str, wire: bytes) -> httpbody_pb2.HttpBody:
    read = httpbody_pb2.HttpBody.FromString
    if method.endswith("UploadImgs"):
        return channel.stream_unary(method, response_deserializer=read)(iter([wire]), timeout=10)
    if method.startswith("/grpc."):  # one of them answers with a stream, and one takes one, too
        return next(channel.stream_stream(method)(iter([wire]), timeout=10))
    return channel.unary_unary(method, response_deserializer=read)(wire, timeout=10)


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        (f"{DETECTOR}ScoreImage", NO_MESSAGE),
        (f"{DETECTOR}PrepareFaces", NO_MESSAGE),
        (f"{GATEWAY}DeletePerson", NO_MESSAGE),
        (f"{GATEWAY}DeletePerson", NOT_UTF8),
        (f"{GATEWAY}EnrollPerson", NOT_UTF8),
        (f"{LEGACY}Verify", NO_MESSAGE),
        (f"{LEGACY}UploadImgs", NO_MESSAGE),
        (f"{LEGACY}UploadImgs", b"\x12\x02\xff\xff"),
        ("/grpc.health.v1.Health/Check", NO_MESSAGE),
        ("/grpc.health.v1.Health/Watch", NOT_UTF8),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", NO_MESSAGE),
    ],
)
def test_what_is_no_message_is_an_invalid_argument(channel, caplog, method: str, wire: bytes):
    with caplog.at_level(logging.INFO), pytest.raises(grpc.RpcError) as refused:
        call(channel, method, wire)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "REQUEST_UNREADABLE"
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]


def test_what_a_library_does_not_do_is_not_implemented(channel, caplog):
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]


def test_what_is_not_utf8_comes_out_marked(channel):
    answer = call(channel, f"{LEGACY}UploadImgs", b"\x0a\x05ann\xff\xfe\x12\x06\x0a\x01\xff\x12\x01\xff")
    assert (answer.content_type, answer.data) == ("ann\ufffd\ufffd", "\ufffd".encode() + b"\xff")
    answer = call(channel, f"{LEGACY}Verify", b"\x0a\x06\x0a\x01\xff\x12\x01\xff")
    assert (answer.content_type, answer.data) == ("\ufffd", b"\xff")


def test_of_two_ids_the_first_counts_and_parts_of_a_body_are_put_together(channel):
    answer = call(channel, f"{LEGACY}UploadImgs", b"\x12\x00\x0a\x01a\x0a\x01b\x12\x03\x0a\x01c\x12\x03\x12\x01d")
    assert (answer.content_type, answer.data) == ("a", b"cd")


def test_a_form_that_is_far_too_large_is_not_looked_at(channel):
    body = httpbody_pb2.HttpBody(content_type="a", data=bytes(legacy_requests.MAX_FORM_MESSAGE)).SerializeToString()
    head = b"\x0a" + bytes([len(body) & 0x7F | 0x80, len(body) >> 7 & 0x7F | 0x80, len(body) >> 14])
    answer = call(channel, f"{LEGACY}Verify", head + body)
    assert (answer.content_type, answer.data) == ("", b"")
