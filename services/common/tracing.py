"""Traces: one span a call in each service, under the caller's span, which the W3C header `traceparent` names.

OpenTelemetry is imported only where traces are sent (otlp.py): it costs memory and time to start.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Span(Protocol):
    """A call under way."""

    def headers(self) -> Sequence[tuple[str, str]]:
        """Metadata by which whoever is called finds this span."""

    def ended(self, code: str) -> None:
        """`code`: the gRPC status's name."""


class Tracing(Protocol):
    """Makes spans. Safe to use from several threads."""

    def answering(self, path: str, metadata: Mapping[str, str]) -> AbstractContextManager[Span]:
        """The span of a call that is answered here: the present one within the context."""

    def calling(self, path: str) -> AbstractContextManager[Span]:
        """The span of a call that is made here, under the present one."""

    def stop(self) -> None:
        """Sends what was not sent yet, if that is soon done."""


class NoSpan:
    """Where no traces are sent."""

    def headers(self) -> Sequence[tuple[str, str]]:
        return ()

    def ended(self, code: str) -> None:
        pass


class NoTracing:
    """Sends no traces."""

    def answering(self, path: str, metadata: Mapping[str, str]) -> AbstractContextManager[Span]:
        return nullcontext(NoSpan())

    def calling(self, path: str) -> AbstractContextManager[Span]:
        return nullcontext(NoSpan())

    def stop(self) -> None:
        pass


def open_tracing(service: str, endpoint: str) -> Tracing:
    """Sends the traces of a service to an OTLP endpoint (http://host:4317), or nowhere where that is empty."""
    if not endpoint:
        return NoTracing()
    from services.common.otlp import OtlpTracing

    return OtlpTracing(service, endpoint)
