"""JSON into dataclasses, and back."""

import json
import types
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import RecoError

T = TypeVar("T")


def read(kind: type[T], body: bytes) -> T:
    """An answer; fields that are not known are left out, as a newer server may send them.

    Raises:
        RecoError: it is no such answer, so that what answered is not RECO.
    """
    try:
        answer: T = _value(kind, json.loads(body))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise RecoError(f"the answer is no {kind.__name__}: is this RECO's address?") from None
    return answer


def plain(value: object) -> Any:
    """A dataclass as what JSON can say, with times as text."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (types.UnionType, Union):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
        return None if value is None else _value(kind, value)
    if get_origin(kind) is tuple:
        return tuple(_value(get_args(kind)[0], one) for one in value)
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        known = {name: _value(hint, value[name]) for name, hint in hints.items() if value.get(name) is not None}
        return kind(**known)  # type: ignore[operator]
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is str and not isinstance(value, str):
        raise ValueError(value)
    return kind(value)
