"""Requests of LegacyService as they come from the wire: also where an ID or a content type is not UTF-8.

protobuf refuses messages with such strings. Here what cannot be read comes out as U+FFFD, which no ID and no content type
that is taken has, so that the contract has a code for it. Of a field that is there twice (`?id=a&id=b`) the first counts.
"""

from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet
from reco.gateway.v1 import legacy_pb2, legacy_pb2_grpc

from services.common.limits import MAX_FORM_BYTES

SERVICE = "reco.gateway.v1.LegacyService"

#: Wire type of bytes, strings and messages.
LENGTH_DELIMITED = 2

#: A form of this size is too large, whatever is around it.
MAX_FORM_MESSAGE = 2 * MAX_FORM_BYTES


def add_to_server(servicer: legacy_pb2_grpc.LegacyServiceServicer, server: grpc.Server) -> None:
    """Adds a servicer, as the generated function does."""
    write = httpbody_pb2.HttpBody.SerializeToString
    handlers: dict[str, Any] = {
        "UploadImgs": grpc.stream_unary_rpc_method_handler(servicer.UploadImgs, read_upload, write),
        "UploadDb": grpc.unary_unary_rpc_method_handler(servicer.UploadDb, read_form, write),
        "Verify": grpc.unary_unary_rpc_method_handler(servicer.Verify, read_form, write),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def read_upload(wire: bytes) -> legacy_pb2.LegacyUploadRequest:
    """Raises DecodeError where it is no message at all."""
    fields = _fields(wire)
    return legacy_pb2.LegacyUploadRequest(id=_text(fields.get(1, [])), body=_body(fields.get(2, [])))


def read_form(wire: bytes) -> legacy_pb2.LegacyFormRequest:
    """One that is too large to be a form comes out empty; raises DecodeError where it is no message at all."""
    if len(wire) > MAX_FORM_MESSAGE:
        return legacy_pb2.LegacyFormRequest()
    return legacy_pb2.LegacyFormRequest(body=_body(_fields(wire).get(1, [])))


def _body(parts: list[bytes]) -> httpbody_pb2.HttpBody:
    """Of a message that comes in parts, as Envoy sends it, the parts follow each other."""
    fields = _fields(b"".join(parts))
    return httpbody_pb2.HttpBody(content_type=_text(fields.get(1, [])), data=b"".join(fields.get(2, [])))


def _fields(wire: bytes) -> dict[int, list[bytes]]:
    """Bytes of a message's fields by number."""
    found: dict[int, list[bytes]] = {}
    fields = UnknownFieldSet(Empty.FromString(wire))
    for field in (fields[position] for position in range(len(fields))):
        if field.wire_type == LENGTH_DELIMITED:
            found.setdefault(field.field_number, []).append(field.data)
    return found


def _text(values: list[bytes]) -> str:
    return values[0].decode("utf-8", "replace") if values else ""
