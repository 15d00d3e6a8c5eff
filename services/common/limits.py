"""Limits that more than one place must agree on."""

#: The largest request body, bytes: Envoy, gRPC messages and the form parser all refuse beyond it.
MAX_BODY_BYTES = 64 * 1024 * 1024

#: The largest gRPC message: a body and what surrounds it.
MAX_MESSAGE_BYTES = MAX_BODY_BYTES + 64 * 1024

#: The largest form or JSON that carries no photo, bytes.
MAX_FORM_BYTES = 64 * 1024
