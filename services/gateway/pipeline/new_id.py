"""IDs for people who come without one: whatever ID_REGEX asks for, as far as that can be told."""

import os
from collections.abc import Iterator
from hashlib import sha256

import re2

from services.common.env_checks import compile_id_regex
from services.gateway.errors import InvalidField

#: Bytes of what an ID may begin with that are looked at.
MAX_PREFIX = 64

#: How many IDs that somebody has already are passed over.
TRIES = 50


def made_ids(pattern: str, seed: str) -> Iterator[str]:
    """IDs that match a pattern as a whole: what its matches may begin with, and then digits or hexadecimal ones.

    Args:
        seed: the same gives the same IDs in the same order; empty gives others each time.

    Raises:
        InvalidField: none is found, as where letters are wanted between.
    """
    compiled, prefixes = compile_id_regex(pattern), _prefixes(pattern)
    for number in range(TRIES):
        digest = sha256(f"{seed} {number}".encode() if seed else os.urandom(32)).hexdigest()
        candidates = (prefix + tail for prefix in prefixes for tail in _tails(digest))
        fitting = (candidate for candidate in candidates if compiled.fullmatch(candidate))
        made = next(fitting, None)
        if made is None:
            raise InvalidField("person_id", "none can be made that matches ID_REGEX: give one", "PERSON_ID_INVALID")
        yield made


def _tails(digest: str) -> Iterator[str]:
    """What may follow, the longest first; of digits never more than count people in a table of any size."""
    digits = str(int(digest, 16))
    yield from (digits[-length:] for length in range(18, 0, -1))
    yield from (digest[:length] for length in (32, 24, 16, 12, 8))
    yield "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def _prefixes(pattern: str) -> list[str]:
    """What all matches begin with, as far as RE2 can tell, and what the first of them in order has before its digits."""
    lowest, highest = map(_text, re2.compile(pattern).possiblematchrange(MAX_PREFIX))
    return list(dict.fromkeys([os.path.commonprefix([lowest, highest]), lowest.rstrip("0123456789")]))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "ignore") if isinstance(value, bytes) else value
