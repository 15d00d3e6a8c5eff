"""Where the liveness service listens, and from which score on a face is taken as living."""

import os
from dataclasses import dataclass
from pathlib import Path

from services.common.server import ServerOptions
from services.common.workers import processors


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine.

    Attributes:
        threads: photos worked on at once.
        cache: folder of finished models, and of weights that processes share.
        models: where finished models go if the cache is read-only.
    """

    server: ServerOptions
    threads: int
    env_file: Path
    mirror: str | None
    threshold: float | None
    cache: Path
    models: Path

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        threshold = get("RECO_LIVENESS_THRESHOLD")
        return cls(
            server=ServerOptions.of("liveness", 15052),
            threads=int(get("RECO_LIVENESS_THREADS") or processors()),
            env_file=Path(get("RECO_ENV_FILE", ".env")),
            mirror=get("RECO_MIRROR") or None,
            threshold=_share(threshold) if threshold else None,
            cache=Path(get("RECO_CACHE", "var/cache")),
            models=Path(get("RECO_MODELS", "var/models")),
        )


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"RECO_LIVENESS_THRESHOLD is {text}; 0 to 1 fit")
    return value
