"""Limits that more than one place must agree on."""

#: The largest request body, bytes: Envoy, gRPC messages and the form parser all refuse beyond it.
MAX_BODY_BYTES = 64 * 1024 * 1024

#: The largest gRPC message: a body and what surrounds it.
MAX_MESSAGE_BYTES = MAX_BODY_BYTES + 64 * 1024

#: The largest form or JSON that carries no photo, bytes.
MAX_FORM_BYTES = 64 * 1024

#: The largest request of the typed API with photos in it, bytes: as JSON, which Envoy has in memory several times over, and
#: as gRPC.
MAX_JSON_BYTES = 8 << 20
MAX_GRPC_BYTES = 16 << 20
