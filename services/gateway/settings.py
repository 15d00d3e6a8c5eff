"""Where the gateway listens and whom it calls; what people are asked for is in `.env`."""

import os
from dataclasses import dataclass
from pathlib import Path

from services.common.server import ServerOptions


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine."""

    server: ServerOptions
    env_file: Path
    detector: str
    liveness: str
    embedder: str
    parallel: int

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        return cls(
            server=ServerOptions.of("gateway", 50050, threads=int(get("RECO_GATEWAY_THREADS", "64")), read_ahead=False),
            env_file=Path(get("RECO_ENV_FILE", ".env")),
            detector=get("RECO_DETECTOR", "localhost:50051"),
            liveness=get("RECO_LIVENESS", "localhost:50052"),
            embedder=get("RECO_EMBEDDER", "localhost:50053"),
            parallel=int(get("RECO_GATEWAY_PARALLEL", "16")),
        )
