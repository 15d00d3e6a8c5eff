"""Whether the memory and the open files of processes stay flat."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.memory import resident

MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """A process at one moment: seconds since the first look, bytes resident, open files."""

    seconds: float
    resident: int
    files: int


@dataclass(frozen=True)
class Allowance:
    """How much more than early on a process may have late in a run.

    Attributes:
        share: of its memory early on.
        resident: bytes beside that: caches fill, allocators keep what was freed.
        files: connections come and go.
    """

    share: float = 0.1
    resident: int = 32 * MIB
    files: int = 16


class Watch:
    """Looks at processes now and then."""

    def __init__(self, pids: Mapping[str, int]):
        self.samples: dict[str, list[Sample]] = {name: [] for name in pids}
        self._pids = pids
        self._started = time.monotonic()

    def look(self) -> dict[str, Sample]:
        """Takes a sample of each process that there is."""
        taken = {}
        for name, pid in self._pids.items():
            try:
                files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                taken[name] = Sample(time.monotonic() - self._started, resident(pid), files)
            except (FileNotFoundError, ProcessLookupError, StopIteration):  # gone, or just going
                continue
            self.samples[name].append(taken[name])
        return taken

    def dead(self) -> list[str]:
        """The processes that are gone; their names."""
        return [name for name, pid in self._pids.items() if not _runs(pid)]

    def complaints(self, allowance: Allowance = Allowance()) -> list[str]:  # noqa: B008
        """Which processes have grown, in words."""
        return [complaint for name, samples in self.samples.items() for complaint in growth(name, samples, allowance)]


def growth(name: str, samples: Sequence[Sample], allowance: Allowance) -> list[str]:
    """What has grown between the second quarter of the samples and the last, by their medians; the first quarter is for
    warming up. Fewer than 8 samples tell nothing."""
    quarter = len(samples) // 4
    if quarter < 2:
        return []
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    before, after = (statistics.median(sample.resident for sample in part) for part in (early, late))
    if after > before * (1 + allowance.share) + allowance.resident:
        found.append(f"{name}: memory grew from {before / MIB:.0f} to {after / MIB:.0f} MiB")
    before, after = (statistics.median(sample.files for sample in part) for part in (early, late))
    if after > before + allowance.files:
        found.append(f"{name}: open files grew from {before:.0f} to {after:.0f}")
    return found


def table(samples: Mapping[str, Sequence[Sample]], rows: int = 12) -> str:
    """Memory and open files over time, a column each process."""
    lines = ["seconds  " + "".join(f"{name + ' MiB/files':>22}" for name in samples)]
    count = min(map(len, samples.values()), default=0)
    for number in sorted({round(row * (count - 1) / max(1, rows - 1)) for row in range(rows)} if count else ()):
        taken = [column[number] for column in samples.values()]
        cells = "".join(f"{sample.resident / MIB:>16.0f} /{sample.files:>4}" for sample in taken)
        lines.append(f"{taken[0].seconds:>7.0f}  {cells}")
    return "\n".join(lines)


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
