"""Where the gateway listens and whom it calls; what people are asked for is in `.env`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.common.encryption import Keyring, keyring_of_environment
from services.common.server import ServerOptions
from services.gateway.storage.limits import UploadLimits, parse_duration, parse_size


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine.

    Attributes:
        uploads: limits of the upload folder.
        keyring: encrypts what is stored.
    """

    server: ServerOptions
    env_file: Path
    detector: str
    liveness: str
    embedder: str
    parallel: int
    uploads: UploadLimits = UploadLimits()
    keyring: Keyring = field(default_factory=Keyring, repr=False)

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        return cls(
            server=ServerOptions.of("gateway", 50050, threads=int(get("RECO_GATEWAY_THREADS", "64"))),
            env_file=Path(get("RECO_ENV_FILE", ".env")),
            detector=get("RECO_DETECTOR", "localhost:50051"),
            liveness=get("RECO_LIVENESS", "localhost:50052"),
            embedder=get("RECO_EMBEDDER", "localhost:50053"),
            parallel=int(get("RECO_GATEWAY_PARALLEL", "16")),
            uploads=UploadLimits(
                ttl=_parsed("RECO_UPLOAD_TTL", "1d", parse_duration),
                quota=_parsed("RECO_UPLOAD_QUOTA", "10G", parse_size),
                reserve=_parsed("RECO_DISK_RESERVE", "256M", parse_size),
            ),
            keyring=keyring_of_environment(),
        )


def _parsed(name: str, default: str, parse: Callable[[str], int]) -> int:
    """A variable's value; SystemExit says what is wrong with it."""
    try:
        return parse(os.environ.get(name) or default)
    except ValueError as err:
        raise SystemExit(f"{name}: {err}") from err
