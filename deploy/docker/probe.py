"""Asks a service whether it serves; exits 0 if it says SERVING. The image's health check, by the gRPC health protocol.

`python -m deploy.docker.probe [host:port]`; without an address it asks the service of its own container. Kubernetes has
gRPC probes of its own, but those show no certificate.
"""

import argparse
import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.mutual_tls import Identity, open_channel_to

TIMEOUT = 4


def main() -> int:
    """Prints nothing where all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", default=own_address())
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds")
    options = parser.parse_args()
    answer = ask(options.address, options.timeout)
    if answer == "SERVING":
        return 0
    print(answer, file=sys.stderr)
    return 1


def own_address() -> str:
    """Where the service of this container can be reached from within."""
    listen = os.environ.get(f"RECO_{own_name().upper()}_LISTEN", "127.0.0.1:15050")
    return f"127.0.0.1:{listen.rpartition(':')[2]}"


def own_name() -> str:
    """The service of this container."""
    return os.environ.get("RECO_SERVICE", "gateway")


def ask(address: str, timeout: float = TIMEOUT) -> str:
    """The state that the service says it is in, or why it did not say."""
    with open_channel_to(own_name(), address, Identity.of_environment()) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as err:
            return f"{address}: {err.code().name} {err.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    sys.exit(main())
