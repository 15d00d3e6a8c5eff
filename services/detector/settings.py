"""Where the detector listens, and where its networks are."""

import os
from dataclasses import dataclass
from pathlib import Path

from services.common.server import ServerOptions
from services.common.workers import processors
from services.detector.model import MODEL, YUNET


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine.

    Attributes:
        threads: photos worked on at once.
        cache: folder of finished models.
        finder: MTCNN or YuNet.
        models, mirror: where the weights come from, if they are still to be made.
    """

    server: ServerOptions
    threads: int
    cache: Path
    models: Path
    mirror: str | None = None
    finder: str = MODEL

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        return cls(
            server=ServerOptions.of("detector", 15051),
            threads=int(get("RECO_DETECTOR_THREADS") or processors()),
            cache=Path(get("RECO_CACHE", "var/cache")),
            models=Path(get("RECO_MODELS", "var/models")),
            mirror=get("RECO_MIRROR") or None,
            finder=_finder(get("RECO_DETECTOR", "")),
        )


def _finder(name: str) -> str:
    """The face finder of that name; an address is the gateway's, whose variable has the same name."""
    if not name or ":" in name:
        return MODEL
    for known in (MODEL, YUNET):
        if known.lower() == name.lower():
            return known
    raise SystemExit(f"RECO_DETECTOR={name}: the face finders are {MODEL} and {YUNET}")
