"""Where the gateway listens and whom it calls; what people are asked for is in `.env`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.common.encryption import Keyring, keyring_of_environment
from services.common.server import ServerOptions
from services.gateway.access.open import ALLOW_ANONYMOUS, is_loopback
from services.gateway.events.webhook import Webhook, webhook_of_environment
from services.gateway.storage.limits import UploadLimits, parse_days, parse_duration, parse_size
from services.gateway.storage.objects.place import BucketPlace, place_of_environment


@dataclass(frozen=True)
class Settings:
    """Read from the environment; every variable has a default for one machine.

    The server has RECO_GATEWAY_THREADS for calls, and RECO_GATEWAY_UPLOADS for uploads while their bodies come in: as many
    as Envoy lets through (MAX_UPLOADS in deploy/envoy/render.py).

    Attributes:
        parallel: photos that are worked on at once.
        upload_pause: seconds within which an upload must make progress (UploadBounds in api/receiving.py).
        allow_anonymous: whether all may do everything as long as no key exists. Unless it is said: where the gateway
            listens on this machine alone, as `make run` has it, which decides by where Envoy listens.
        attempts: verifications of one ID a minute; 0 for no limit.
        fused: whether several models decide together (RECO_DECISION=fused) rather than by counting pairs.
        audit_log: None for `audit.log` in the folder of LOG_LOC.
        uploads: limits of the upload folder.
        keyring: encrypts what is stored.
        photos: the object store that keeps photos and uploads; None where folders do.
        person_days: without use, after which people are erased; 0 for never.
        webhook: is told what happens to people.
    """

    server: ServerOptions
    env_file: Path
    detector: str
    liveness: str
    embedder: str
    parallel: int
    upload_pause: float
    allow_anonymous: bool
    attempts: int
    audit_log: Path | None
    fused: bool = False
    uploads: UploadLimits = UploadLimits()
    keyring: Keyring = field(default_factory=Keyring, repr=False)
    photos: BucketPlace | None = None
    person_days: int = 0
    webhook: Webhook | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        threads, uploads = int(get("RECO_GATEWAY_THREADS", "96")), int(get("RECO_GATEWAY_UPLOADS", "512"))
        server = ServerOptions.of("gateway", 15050, threads=threads + uploads, read_ahead=False)
        anonymous = get(ALLOW_ANONYMOUS) or str(is_loopback(server.address.rpartition(":")[0]))
        audit_log = get("RECO_AUDIT_LOG")
        return cls(
            server=server,
            env_file=Path(get("RECO_ENV_FILE", ".env")),
            detector=get("RECO_DETECTOR", "localhost:15051"),
            liveness=get("RECO_LIVENESS", "localhost:15052"),
            embedder=get("RECO_EMBEDDER", "localhost:15053"),
            parallel=int(get("RECO_GATEWAY_PARALLEL", "16")),
            upload_pause=float(get("RECO_GATEWAY_UPLOAD_PAUSE", "20")),
            allow_anonymous=anonymous.lower() == "true",
            attempts=int(get("RECO_ATTEMPTS_PER_MINUTE") or 30),
            audit_log=Path(audit_log) if audit_log else None,
            fused=_is_fused(get("RECO_DECISION") or "pairs"),
            uploads=UploadLimits(
                ttl=_parsed("RECO_UPLOAD_TTL", "1d", parse_duration),
                quota=_parsed("RECO_UPLOAD_QUOTA", "10G", parse_size),
                reserve=_parsed("RECO_DISK_RESERVE", "256M", parse_size),
            ),
            keyring=keyring_of_environment(),
            photos=place_of_environment(),
            person_days=_parsed("RECO_PERSON_TTL", "0", parse_days),
            webhook=webhook_of_environment(),
        )


def _is_fused(decision: str) -> bool:
    if decision not in ("pairs", "fused"):
        raise SystemExit(f"RECO_DECISION={decision}: neither pairs nor fused")
    return decision == "fused"


def _parsed(name: str, default: str, parse: Callable[[str], int]) -> int:
    """A variable's value; SystemExit says what is wrong with it."""
    try:
        return parse(os.environ.get(name) or default)
    except ValueError as err:
        raise SystemExit(f"{name}: {err}") from err
