"""What there is to call, by the protos themselves: an RPC that is added is known at once."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from tests.machine import ROOT

#: What every server has beside its own.
OF_ALL = (health.SERVICE_NAME, reflection.SERVICE_NAME)

DESCRIPTOR_SET = ROOT / "gen" / "reco.pb"


@dataclass(frozen=True)
class Rest:
    """A REST endpoint.

    Attributes:
        method: POST, GET, …
        path: with names of fields in braces, such as `/v1/people/{person_id}`.
        body: the field of `takes` that the body is; `*` is all of it, and nothing: there is no body.
        takes: the RPC's request.
    """

    method: str
    path: str
    body: str
    takes: Descriptor


class Protos:
    """All services of a descriptor set."""

    def __init__(self, descriptor_set: Path = DESCRIPTOR_SET):
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set.read_bytes()).file
        self._pool = descriptor_pool.Default()
        for file in files:
            importlib.import_module(
                file.name.removesuffix(".proto").replace("/", ".") + "_pb2"
            )  # adds itself to the pool
        self._services = [f"{file.package}.{service.name}" for file in files for service in file.service]
        self._services += OF_ALL

    def methods(self) -> list[MethodDescriptor]:
        """All RPCs."""
        return [method for name in self._services for method in self._pool.FindServiceByName(name).methods]

    def endpoints(self) -> list[Rest]:
        """All REST endpoints."""
        return [endpoint for method in self.methods() for endpoint in _endpoints(method)]


def _endpoints(method: MethodDescriptor) -> Iterator[Rest]:
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    rule = options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        if kind := one.WhichOneof("pattern"):
            yield Rest(kind.upper(), getattr(one, kind), one.body, method.input_type)
