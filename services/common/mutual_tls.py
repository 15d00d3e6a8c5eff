"""TLS between services, by which both sides know each other: whom one calls, and who calls.

Off unless RECO_MTLS names a folder with ca.crt (who vouches for all of them), tls.crt and tls.key (this one's own), the
names that Kubernetes gives them; deploy/docker/certificates.py makes such folders. Read at the start: renewed files want
a restart. A certificate says by DNS names whose it is: envoy, gateway, detector, liveness, embedder.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from services.common.interceptor import Handler, Method

SETTING = "RECO_MTLS"

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"

#: Who may call a service, besides the service itself, which asks after its own health.
CALLERS = {"gateway": "envoy", "detector": "gateway", "liveness": "gateway", "embedder": "gateway"}


@dataclass(frozen=True)
class Identity:
    """What a service shows of itself, and by whom it knows others; PEM.

    Attributes:
        authority: certificates of who vouches for others.
        certificate, key: its own.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def of_environment(cls) -> "Identity | None":
        """That of the folder RECO_MTLS; None where that is not set. SystemExit says what is missing there."""
        folder = os.environ.get(SETTING)
        return cls.read(Path(folder)) if folder else None

    @classmethod
    def read(cls, folder: Path) -> "Identity":
        """That of a folder; SystemExit says what is missing there."""
        try:
            return cls(*((folder / name).read_bytes() for name in (AUTHORITY, CERTIFICATE, KEY)))
        except OSError as err:
            raise SystemExit(f"{SETTING}: {err}") from err

    def listen(self, server: grpc.Server, address: str) -> int:
        """Has a server speak TLS there, to those alone who show a certificate of the authority; returns the port."""
        pairs = [(self.key, self.certificate)]
        return server.add_secure_port(address, grpc.ssl_server_credentials(pairs, self.authority, True))


def open_channel_to(
    name: str, target: str, identity: Identity | None, options: Sequence[tuple[str, Any]] = ()
) -> grpc.Channel:
    """A channel to a service of that name, wherever it is; in plain where there is no identity."""
    if identity is None:
        return grpc.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)
    return grpc.secure_channel(target, credentials, (*options, ("grpc.ssl_target_name_override", name)))


class KnownCallers(grpc.ServerInterceptor):
    """Lets those alone call whose certificate has one of the names: PERMISSION_DENIED for others of the same authority."""

    def __init__(self, names: Sequence[str]):
        self._names = {name.encode() for name in names}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Handler | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        remake, method = _kind(handler)
        remade: Handler = remake(self._guard(method), handler.request_deserializer, handler.response_serializer)
        return remade

    def _guard(self, method: Method) -> Method:
        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            shown = context.auth_context().get("x509_subject_alternative_name", ())
            if self._names.isdisjoint(shown):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this certificate is not of one who may call here")
            return method(request, context)

        return guarded


def _kind(handler: "Handler") -> tuple[Callable[..., Any], Method]:
    """What makes a handler of the same kind, and the method of this one."""
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler, handler.unary_unary
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    assert handler.stream_stream
    return grpc.stream_stream_rpc_method_handler, handler.stream_stream
