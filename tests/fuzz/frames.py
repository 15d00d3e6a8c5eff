"""gRPC as bytes: frames, lengths and headers that no library would send."""

from google.protobuf.descriptor import MethodDescriptor
from hypothesis import strategies as st

from tests.fuzz.edits import chosen
from tests.fuzz.inputs import Exchange
from tests.fuzz.messages import Messages, wire
from tests.fuzz.rest import ODD_HEADERS, request

GRPC_HEADERS = (
    "Grpc-Timeout: 1n",
    "Grpc-Timeout: 99999999H",
    "Grpc-Timeout: 999999999H",
    "Grpc-Timeout: -1S",
    "Grpc-Timeout: ",
    "Grpc-Encoding: gzip",
    "Grpc-Encoding: identity",
    "Grpc-Encoding: lzma",
    "Grpc-Accept-Encoding: \xff",
    "Grpc-Status: 0",
    "Content-Type: application/grpc+json",
)


def exchanges(method: MethodDescriptor, messages: Messages) -> st.SearchStrategy[Exchange]:
    """Calls of one RPC over HTTP/1.1, which Envoy hands on as gRPC."""
    name = f"{method.containing_service.full_name}/{method.name}"

    @st.composite
    def exchange(draw: st.DrawFn) -> Exchange:
        body = b"".join(draw(st.lists(_frames(messages, method), min_size=1, max_size=2)))
        headers = ["Content-Type: application/grpc", "TE: trailers", *draw(st.lists(chosen(GRPC_HEADERS), max_size=2))]
        headers += draw(st.lists(chosen(ODD_HEADERS), max_size=1))
        is_cut = draw(st.integers(0, 9)) == 9
        body = body[: draw(st.integers(0, 16))] if is_cut else body
        return Exchange(f"gRPC {name}", request("POST", f"/{name}", headers, body, chunked=draw(st.booleans())))

    return exchange()


def _frames(messages: Messages, method: MethodDescriptor) -> st.SearchStrategy[bytes]:
    """A flag that tells whether the message is compressed, its length, and the message."""
    flag = st.integers(0, 9).flatmap(lambda odd: st.sampled_from((1, 2, 255)) if odd == 9 else st.just(0))
    more = st.integers(0, 9).flatmap(lambda odd: st.sampled_from((-1, 1, 70_000, 2**31)) if odd == 9 else st.just(0))
    return st.builds(_frame, flag, more, wire(messages.of(method.input_type)))


def _frame(flag: int, more: int, message: bytes) -> bytes:
    return bytes([flag]) + max(0, len(message) + more).to_bytes(4, "big") + message
