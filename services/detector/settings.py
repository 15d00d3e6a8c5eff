"""Where the detector listens, and where its networks are."""

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
        cache: folder of finished models.
        models, mirror: where the weights come from, if they are still to be made.
    """

    server: ServerOptions
    threads: int
    cache: Path
    models: Path
    mirror: str | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        return cls(
            server=ServerOptions.of("detector", 15051),
            threads=int(get("RECO_DETECTOR_THREADS") or processors()),
            cache=Path(get("RECO_CACHE", "var/cache")),
            models=Path(get("RECO_MODELS", "var/models")),
            mirror=get("RECO_MIRROR") or None,
        )
