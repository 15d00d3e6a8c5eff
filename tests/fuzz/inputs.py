"""What the fuzzer sends, such that it can be kept in a file and sent again."""

import base64
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Call:
    """A gRPC call.

    Attributes:
        target: detector, liveness, embedder, gateway, or envoy in front of the gateway.
        path: such as /reco.detector.v1.DetectorService/ScoreImage.
        requests: messages as they are on the wire.
        metadata: headers.
        impatient: the client waits for no longer than a blink.
    """

    target: str
    path: str
    requests: tuple[bytes, ...] = field(repr=False)  # hypothesis writes failures down
    metadata: tuple[tuple[str, str], ...] = ()
    impatient: bool = False

    @property
    def name(self) -> str:
        """What it is counted under."""
        return f"{self.target} {self.path.removeprefix('/')}"

    @property
    def size(self) -> int:
        return sum(map(len, self.requests))


@dataclass(frozen=True)
class Exchange:
    """An HTTP/1.1 request.

    Attributes:
        endpoint: of the protos, that it began as: what it is counted under.
        wire: all bytes of it.
        whole: whether it keeps to HTTP, and so must be answered.
    """

    endpoint: str
    wire: bytes = field(repr=False)
    whole: bool = True

    @property
    def name(self) -> str:
        """What it is counted under."""
        return f"http {self.endpoint}"

    @property
    def size(self) -> int:
        return len(self.wire)

    @property
    def method(self) -> str:
        """As it is sent."""
        return self.wire.split(b" ", 1)[0].decode("latin-1")


Input = Call | Exchange
_KINDS: dict[str, type[Call] | type[Exchange]] = {"call": Call, "exchange": Exchange}


def save(one: Input, why: str, path: Path) -> None:
    """Writes an input into a file, and why."""
    kind = next(kind for kind, made in _KINDS.items() if isinstance(one, made))
    path.write_text(json.dumps({"kind": kind, "why": why, **asdict(one)}, default=_to_text, indent=1))


def load(path: Path) -> Input:
    """An input that was saved."""
    read = json.loads(path.read_text())
    made = _KINDS[read["kind"]]
    values = {one.name: _read(read[one.name]) for one in fields(made)}
    return made(**values)


def _to_text(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return tuple(map(_read, value)) if isinstance(value, list) else value
