"""Sends inputs to a running system, and judges what comes back."""

import http.client
import json
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from services.common.limits import MAX_MESSAGE_BYTES
from tests.fuzz.inputs import Call, Exchange, Input

#: Seconds that an impatient client waits.
BLINK = 0.01

#: Statuses that tell of a fault: of ours, or that who should answer is not there.
FAULTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE")
HTTP_FAULTS = (429, 500, 502, 503, 504)

#: Of one who asks one thing at a time nothing is too much, unless it is too large.
OVERLOADED = "RESOURCE_EXHAUSTED"
TOO_LARGE = re.compile(r'"code":413|larger than max')

#: What no answer may hold.
LEAKS = re.compile(r"Traceback|127\.0\.0\.1|site-packages|/services/\w+/")

#: The four keys of each legacy endpoint.
LEGACY = {
    "/upload_imgs": {"upload_results", "upload_code", "upload_message", "system_errors"},
    "/upload_db": {"result_code", "result_message", "upload_results", "system_errors"},
    "/verify": {"recognition_code", "recognition_message", "recognition_results", "system_errors"},
}


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of gRPC by its name; of HTTP its number; 0 where nothing came.
        text: gRPC's details, or the body of an HTTP answer.
        seconds: until it was there.
    """

    status: str | int
    text: str
    seconds: float


class Sender:
    """A client of all services and Envoy; one request at a time."""

    def __init__(self, addresses: Mapping[str, str], patience: float):
        """
        Args:
            addresses: host:port by target, envoy among them.
            patience: seconds for an answer, at the utmost.
        """
        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", 1 << 20),
        ]
        self._channels = {name: grpc.insecure_channel(address, options) for name, address in addresses.items()}
        host, _, port = addresses["envoy"].rpartition(":")
        self._http = (host, int(port))
        self._patience = patience

    def send(self, one: Input) -> Answer:
        """The answer to an input."""
        started = time.monotonic()
        status, text = self._call(one) if isinstance(one, Call) else self._exchange(one)
        return Answer(status, text, time.monotonic() - started)

    def _call(self, one: Call) -> tuple[str, str]:
        """Every kind of call is a stream of messages on the wire, so that any number of them can be sent."""
        call: Any = self._channels[one.target].stream_stream(one.path)
        patience = BLINK if one.impatient else self._patience
        answers = call(iter(one.requests), timeout=patience, metadata=one.metadata, wait_for_ready=True)
        try:
            for _ in answers:
                pass
        except grpc.RpcError as err:
            return err.code().name, err.details() or ""
        return "OK", ""

    def _exchange(self, one: Exchange) -> tuple[str | int, str]:
        with socket.create_connection(self._http, timeout=self._patience) as connection:
            try:
                with suppress(BrokenPipeError, ConnectionResetError):  # answered before all was sent
                    connection.sendall(one.wire)
                    if not one.whole:
                        connection.shutdown(socket.SHUT_WR)
                answer = http.client.HTTPResponse(connection, method=one.method)
                answer.begin()
                if answer.getheader("content-type", "").startswith("application/grpc"):
                    return _name(answer.getheader("grpc-status", "0")), answer.getheader("grpc-message") or ""
                return answer.status, answer.read().decode("utf-8", "replace")
            except TimeoutError:
                return 0, "no answer"
            except (http.client.HTTPException, OSError) as err:
                return 0, f"no answer: {err!r}"


def _name(grpc_status: str) -> str:
    """A status of gRPC by its number, as HTTP has it in a header."""
    names = {str(code.value[0]): code.name for code in grpc.StatusCode}
    return names.get(grpc_status, "UNKNOWN")


def fault(one: Input, answer: Answer) -> str | None:
    """What is wrong with an answer; None where it is as it should be."""
    if leak := LEAKS.search(answer.text):
        return f"{answer.status} tells {leak[0]!r}: {answer.text[:300]}"
    if isinstance(one, Call):
        return _call_fault(one, answer)
    return _exchange_fault(one, answer)


def _call_fault(one: Call, answer: Answer) -> str | None:
    is_late = answer.status == "DEADLINE_EXCEEDED" and not one.impatient
    is_refused = answer.status == OVERLOADED and not TOO_LARGE.search(answer.text)
    return f"{answer.status}: {answer.text[:300]}" if answer.status in FAULTS or is_late or is_refused else None


def _exchange_fault(one: Exchange, answer: Answer) -> str | None:
    if answer.status == 0:
        return answer.text if one.whole else None
    if answer.status in FAULTS:
        return f"{answer.status}: {answer.text[:300]}"
    if answer.status in HTTP_FAULTS:
        return f"HTTP {answer.status}: {answer.text[:300]}"
    if one.method == "HEAD" or not one.whole:
        return None
    path = _path(one)
    if answer.status == 200 and path in LEGACY and one.method == "POST":
        read = _object(answer.text)
        return None if read is not None and set(read) == LEGACY[path] else f"not the four keys: {answer.text[:300]}"
    if isinstance(answer.status, int) and answer.status >= 400:
        read = _object(answer.text)
        return None if read is not None and "code" in read else f"HTTP {answer.status} not as JSON: {answer.text[:300]}"
    return None


def _path(one: Exchange) -> str:
    """Without the query."""
    return one.wire.split(b" ", 2)[1].decode("latin-1").partition("?")[0].rstrip("/")


def _object(text: str) -> dict[str, Any] | None:
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None
