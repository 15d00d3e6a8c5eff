"""How much memory a process takes while something happens to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peak:
    """The most that a process had resident, bytes; known once it is over."""

    bytes: int = 0


@contextmanager
def peak(pid: int) -> Iterator[Peak]:
    """Measures the block's peak by the kernel's own account (proc(5), VmHWM)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    measured = Peak()
    yield measured
    measured.bytes = _status(pid, "VmHWM")


def resident(pid: int) -> int:
    """What a process has resident now, bytes."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    """A field in kB of a process' status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
