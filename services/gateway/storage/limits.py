"""How much the upload folder may hold, and for how long."""

import re
from dataclasses import dataclass

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class UploadLimits:
    """Limits of the upload folder; 0 is none.

    Attributes:
        ttl: seconds after which an upload is deleted, enrolled or not.
        quota: bytes of all uploads together; beyond it uploads are refused.
        reserve: bytes that stay free on the disk; below that uploads are refused.
    """

    ttl: int = 0
    quota: int = 0
    reserve: int = 0


def parse_duration(text: str) -> int:
    """Seconds of `90`, `45s`, `30m`, `12h` or `1d`; raises ValueError."""
    return _parse(text, SECONDS)


def parse_days(text: str) -> int:
    """Days of a duration, whole ones; 0, or 2 at least, since days are all that is noted; raises ValueError."""
    days = parse_duration(text) // SECONDS["d"]
    if days < 2 and parse_duration(text):
        raise ValueError(f"{text!r} is less than two days; 2d or more fits, 0 is never")
    return days


def parse_size(text: str) -> int:
    """Bytes of `1000`, `512k`, `64M` or `10G` (powers of 1024); raises ValueError."""
    return _parse(text, BYTES)


def _parse(text: str, units: dict[str, int]) -> int:
    found = re.fullmatch(r"([0-9]{1,15}) ?([a-z]?)", text.strip().lower())
    if not found or found[2] not in units:
        raise ValueError(f"{text!r} is not a whole number, or one with a unit: {', '.join(filter(None, units))}")
    return int(found[1]) * units[found[2]]
