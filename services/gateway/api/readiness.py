"""Whether every stage serves, for load balancers and for people who wonder."""

from collections.abc import Callable, Mapping

import grpc
from reco.gateway.v1 import readiness_pb2, readiness_pb2_grpc

STATES = {
    True: readiness_pb2.CheckReadinessResponse.STATE_SERVING,
    False: readiness_pb2.CheckReadinessResponse.STATE_NOT_SERVING,
}

#: A header by which Envoy knows that /readyz is 503 (deploy/envoy/envoy.yaml).
NOT_READY = (("x-not-ready", "yes"),)


class ReadinessServicer(readiness_pb2_grpc.ReadinessServiceServicer):
    """`/readyz`."""

    def __init__(self, serving: Callable[[], Mapping[str, bool]]):
        """`serving`: by stage, whether it serves."""
        self._serving = serving

    def CheckReadiness(
        self, request: readiness_pb2.CheckReadinessRequest, context: grpc.ServicerContext
    ) -> readiness_pb2.CheckReadinessResponse:
        serving = self._serving()
        ready = all(serving.values())
        if not ready:
            context.send_initial_metadata(NOT_READY)
        return readiness_pb2.CheckReadinessResponse(
            ready=ready, stages={name: STATES[serves] for name, serves in serving.items()}
        )
