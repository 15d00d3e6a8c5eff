"""Where the embedder listens and keeps its networks."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from services.common.encryption import Keyring, keyring_of_environment
from services.common.server import ServerOptions
from services.common.workers import processors
from services.embedder.recognition.rates import Rates


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine.

    Attributes:
        one_view: embed a face as it is, not also its mirror image: twice as fast, less accurate (docs/accuracy.md).
        threads: batches of faces embedded at once.
        calibration: thresholds of this site's own (`make calibrate`), if there is such a file.
        rates: how often strangers may match.
        vector_uri: where Milvus keeps the search index: http(s)://host:port, or a file ending in .db for Milvus Lite;
            empty: this process keeps it.
        vector_token: `user:password` or an API key for Milvus.
        keyring: encrypts the templates in the database.
    """

    server: ServerOptions
    env_file: Path
    models: Path
    cache: Path
    mirror: str | None
    one_view: bool
    threads: int
    calibration: Path = Path("var/calibration.json")
    rates: Rates = field(default_factory=Rates)
    vector_uri: str = ""
    vector_token: str = field(default="", repr=False)
    keyring: Keyring = field(default_factory=Keyring, repr=False)

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        return cls(
            server=ServerOptions.of("embedder", 15053),
            env_file=Path(get("RECO_ENV_FILE", ".env")),
            models=Path(get("RECO_MODELS", "var/models")),
            cache=Path(get("RECO_CACHE", "var/cache")),
            mirror=get("RECO_MIRROR") or None,
            one_view=get("RECO_EMBEDDER_ONE_VIEW", "").lower() == "true",
            threads=int(get("RECO_EMBEDDER_THREADS") or processors()),
            calibration=Path(get("RECO_CALIBRATION") or "var/calibration.json"),
            rates=Rates.from_environment(),
            vector_uri=_vector_uri(get("VECTOR_URI", "")),
            vector_token=get("VECTOR_TOKEN", ""),
            keyring=keyring_of_environment(),
        )


def _vector_uri(value: str) -> str:
    value = value.strip()
    if value and not value.startswith(("http://", "https://")):
        if "://" in value or not value.endswith(".db"):
            raise SystemExit(f"VECTOR_URI={value}: neither http(s)://host:port nor a file whose name ends in .db")
        return str(Path(value).absolute())
    return value
