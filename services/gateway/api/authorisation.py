"""Envoy's question whether a request may pass (its filter ext_authz): proto to domain and back."""

from collections.abc import Callable
from urllib.parse import unquote

import grpc
from google.rpc import code_pb2, status_pb2
from reco.access.v1 import ext_authz_pb2, ext_authz_pb2_grpc

from services.common.call import KEY_NAME_HEADER, accept_id
from services.gateway.access.audit import Event
from services.gateway.access.decision import TOKEN_NAME, TOKEN_ROLE, Access, Admission, Decision

STATUSES = {
    Admission.NEEDS_KEY: (code_pb2.UNAUTHENTICATED, ext_authz_pb2.Unauthorized),
    Admission.FORBIDDEN: (code_pb2.PERMISSION_DENIED, ext_authz_pb2.Forbidden),
    Admission.UNDECIDED: (code_pb2.UNAVAILABLE, ext_authz_pb2.ServiceUnavailable),
}

#: Headers that go no further than Envoy.
USED_UP = ("authorization", "x-api-key", TOKEN_NAME, TOKEN_ROLE)


class AuthorizationServicer(ext_authz_pb2_grpc.AuthorizationServicer):
    """envoy.service.auth.v3.Authorization."""

    def __init__(self, access: Access, audit: Callable[[Event], None]):
        """`audit`: takes what a key's holder was forbidden; who shows no valid key could fill the disk with it."""
        self._access = access
        self._audit = audit

    def Check(self, request: ext_authz_pb2.CheckRequest, context: grpc.ServicerContext) -> ext_authz_pb2.CheckResponse:
        asked = request.attributes.request.http
        decision = self._access.decide(asked.method, asked.path, asked.headers)
        if decision.verdict is Admission.PASSES:
            return _pass(decision)
        if decision.verdict is Admission.FORBIDDEN:
            path = unquote(asked.path.partition("?")[0])
            request_id = accept_id(asked.headers.get("x-request-id", ""))
            self._audit(Event(decision.name, "deny", f"{asked.method} {path}", "FORBIDDEN", request_id))
        return _refuse(decision)


def _pass(decision: Decision) -> ext_authz_pb2.CheckResponse:
    name = _header(KEY_NAME_HEADER, decision.name)
    passed = ext_authz_pb2.OkHttpResponse(headers=[name], headers_to_remove=USED_UP)
    return ext_authz_pb2.CheckResponse(status=status_pb2.Status(code=code_pb2.OK), ok_response=passed)


def _refuse(decision: Decision) -> ext_authz_pb2.CheckResponse:
    code, http = STATUSES[decision.verdict]
    challenge = [_header("www-authenticate", "Bearer")] if decision.verdict is Admission.NEEDS_KEY else []
    refused = ext_authz_pb2.DeniedHttpResponse(
        status=ext_authz_pb2.HttpStatus(code=http), headers=challenge, body=decision.why
    )
    return ext_authz_pb2.CheckResponse(status=status_pb2.Status(code=code), denied_response=refused)


def _header(name: str, value: str) -> ext_authz_pb2.HeaderValueOption:
    return ext_authz_pb2.HeaderValueOption(
        header=ext_authz_pb2.HeaderValue(key=name, value=value),
        append_action=ext_authz_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
