"""Every gRPC method has a load test, and each configuration fits the descriptor set."""

import json

import pytest
from google.protobuf import descriptor_pb2

from tests.load.run import ENROLMENTS, HERE, ROOT

#: Methods that are loaded over REST, where clients are, or not at all: readiness is looked up once a second at most, and
#: administrators ask now and then.
OVER_REST = {"LegacyService", "FormService", "ReadinessService"} | {
    f"{name}Service" for name in ("Operations", "Transfer", "Access", "Events")
}


def configurations() -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (HERE / "ghz").glob("*.json")}


def methods() -> set[str]:
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "reco.pb").read_bytes()).file
    return {
        f"{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
        if service.name not in OVER_REST and file.package.startswith("reco.")  # Envoy's own are another's
    }


def test_every_method_is_loaded():
    assert {configuration["call"] for configuration in configurations().values()} == methods()


@pytest.mark.parametrize("name", sorted(configurations()))
def test_a_run_is_short_and_stays_here(name: str):
    configuration = configurations()[name]
    assert configuration["host"].startswith("127.0.0.1:")
    assert configuration["protoset"] == "gen/reco.pb"
    assert configuration["data-file"] == f"var/load/{name}.json"
    assert configuration.get("max-duration") == "4s" or configuration["total"] <= ENROLMENTS
