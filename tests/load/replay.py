"""Stages that answer at once what the real ones have answered before: what is left is the cost of all else."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc

from services.common.limits import MAX_MESSAGE_BYTES

LIMITS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]


class Replay(grpc.GenericRpcHandler):
    """A server for all three stages; a context manager. A method's first answer is the real stage's, and is kept."""

    def __init__(self, stages: Mapping[str, str]):
        """`stages`: the real ones' addresses by name (detector, liveness, embedder)."""
        self._channels = {name: grpc.insecure_channel(address, LIMITS) for name, address in stages.items()}
        self._answers: dict[str, bytes] = {}
        self._server = grpc.server(ThreadPoolExecutor(8), options=LIMITS)
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._answer(call.method, request))

    def _answer(self, method: str, request: bytes) -> bytes:
        if method not in self._answers:
            stage = method.split(".")[1]  # /reco.detector.v1.DetectorService/…
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channels[stage].unary_unary(method)
            self._answers[method] = call(request, timeout=60)
        return self._answers[method]

    def __enter__(self) -> "Replay":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        for channel in self._channels.values():
            channel.close()
