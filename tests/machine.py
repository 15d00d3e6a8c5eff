"""Where the tests run: the repository, and ports that are free."""

import itertools
import random
from pathlib import Path

from deploy.local.ports import is_taken

ROOT = Path(__file__).resolve().parents[1]

#: Where to look for ports: below those that the kernel gives to outgoing connections, so that none of them takes a port
#: between its choice and its use. Each block is tried once before any is tried again.
_BLOCK = 8
_blocks = itertools.cycle(random.sample(range(20000, 32000, _BLOCK), 12000 // _BLOCK))


def free_ports(count: int) -> int:
    """The first of `count` ports in a row, at most 8, that nobody listens on now."""
    return next(first for first in _blocks if not any(map(is_taken, range(first, first + count))))


def free_port() -> int:
    """A port that nobody listens on now."""
    return free_ports(1)
