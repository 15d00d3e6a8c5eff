"""Asks the stages whether they serve, by the gRPC health protocol."""

import threading
import time
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

#: Seconds that a stage gets to answer, and that an answer is good for: so often at most the stages are asked.
TIMEOUT, VALID = 0.8, 1.0


class StageHealth:
    """The stages behind channels, by name."""

    def __init__(self, channels: Mapping[str, grpc.Channel]):
        self._channels = dict(channels)
        self._lock = threading.Lock()
        self._known: dict[str, bool] = {}
        self._asked: float | None = None

    def serving(self) -> dict[str, bool]:
        """Whether each stage says SERVING; of several copies, one. At most VALID seconds old."""
        with self._lock:
            if self._asked is None or time.monotonic() - self._asked > VALID:
                self._known = {name: _serves(channel) for name, channel in self._channels.items()}
                self._asked = time.monotonic()
            return dict(self._known)


def _serves(channel: grpc.Channel) -> bool:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
