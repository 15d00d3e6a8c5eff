"""What requests of the typed API have in common: page sizes, update masks, and how one is told which field does not fit.

A refusal is raised as InvalidField; the one interceptor makes google.rpc.Status of it, with ErrorInfo and BadRequest.
"""

from collections.abc import Collection, Sequence

from google.protobuf.message import Message

from services.gateway.errors import InvalidField

#: Rates that may be asked for; the embedder says which thresholds they stand for.
LEAST_FMR, MOST_FMR = 1e-7, 0.1


def check_number(field: str, value: int, most: int, default: int) -> int:
    """A number from 1 to `most`; `default` for 0, which is what JSON and proto say of one that is not given.

    Raises:
        InvalidField: it is negative or larger.
    """
    if not 0 <= value <= most:
        raise InvalidField(field, f"a number from 1 to {most} is wanted")
    return value or default


def check_fmr(field: str, fmr: float) -> float | None:
    """A false match rate; None for 0, where it is not given. Raises InvalidField."""
    if fmr and not LEAST_FMR * 0.999 <= fmr <= MOST_FMR * 1.001:  # as much as a float32 may lose
        raise InvalidField(field, f"a rate from {LEAST_FMR:g} to {MOST_FMR:g} is wanted")
    return min(max(fmr, LEAST_FMR), MOST_FMR) if fmr else None


def check_mask(field: str, paths: Sequence[str], allowed: Collection[str], message: Message) -> tuple[str, ...]:
    """The fields that an update mask names: all of them for `*`, those that the message has a value for where it is empty.

    Raises:
        InvalidField: it names another.
    """
    if not paths:
        return tuple(name for name in allowed if getattr(message, name))
    if list(paths) == ["*"]:
        return tuple(allowed)
    unknown = [path for path in paths if path not in allowed]
    if unknown:
        raise InvalidField(field, f"the fields that can be changed are {', '.join(allowed)}", "MASK_INVALID")
    return tuple(dict.fromkeys(paths))
