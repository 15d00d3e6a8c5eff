"""Where the gateway listens and whom it calls; what people are asked for is in `.env`."""

import os
from dataclasses import dataclass
from pathlib import Path

from services.common.server import ServerOptions


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine.

    The server has RECO_GATEWAY_THREADS for calls, and RECO_GATEWAY_UPLOADS for uploads while their bodies come in: as many
    as Envoy lets through (MAX_UPLOADS in deploy/envoy/render.py).

    Attributes:
        parallel: photos that are worked on at once.
        upload_pause: seconds within which an upload must make progress (Bounds in api/receiving.py).
    """

    server: ServerOptions
    env_file: Path
    detector: str
    liveness: str
    embedder: str
    parallel: int
    upload_pause: float

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        threads, uploads = int(get("RECO_GATEWAY_THREADS", "64")), int(get("RECO_GATEWAY_UPLOADS", "512"))
        return cls(
            server=ServerOptions.of("gateway", 15050, threads=threads + uploads),
            env_file=Path(get("RECO_ENV_FILE", ".env")),
            detector=get("RECO_DETECTOR", "localhost:15051"),
            liveness=get("RECO_LIVENESS", "localhost:15052"),
            embedder=get("RECO_EMBEDDER", "localhost:15053"),
            parallel=int(get("RECO_GATEWAY_PARALLEL", "16")),
            upload_pause=float(get("RECO_GATEWAY_UPLOAD_PAUSE", "20")),
        )
