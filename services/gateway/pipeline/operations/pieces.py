"""A piece of long work: people one after the other, for some seconds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from services.gateway.storage.types import PersonRecord
from services.gateway.storage.work import Operation

#: Seconds after which a piece ends.
PIECE = 2.0


def one_by_one(operation: Operation, page: Sequence[PersonRecord], embed: Callable[[PersonRecord], None]) -> Operation:
    """How far an operation has got after some people of a page, one at least."""
    until, done, last = time.monotonic() + PIECE, 0, operation.position
    for record in page:
        embed(record)
        done, last = done + 1, record.record_id
        if time.monotonic() > until:
            break
    return replace(operation, position=last, done=operation.done + done)
