"""How fast RECO is, against its goals and against what users have today: the table of docs/performance.md.

usage: make bench [BENCH_ARGS="--only search overload"] (a part alone is printed, the page stays as it is)

Contenders take turns within one run, figures are medians. What runs on one thread is measured in processor time, so
that other work on the machine matters little; the system as a whole, and search, in time that passed. Needs the photos
of RECO_TEST_DATA (default ../shared/data); what users have today is installed into .venv-bench once.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from services.images.decode import decode
from tests.e2e.system import System
from tests.load import bench_cost, bench_people, bench_search, bench_services, bench_stages, bench_system, report
from tests.load.figures import Figure, at_most, load_before
from tests.load.messages import UNLIMITED
from tests.load.original import Absent, Original
from tests.machine import ROOT

PARTS = ("embedding", "detection", "batching", "search", "people", "verify", "cost", "throughput", "overload", "start")
#: One person's photos: five to enroll, one to verify.
FOLDER = Path("faces") / "deepface" / "id_img1"
ENROLLED, PROBE = ("img1", "img2", "img4", "img5", "img7"), "img6"
LARGE_PIXELS = 12_000_000


def main() -> int:
    """Measures, prints the table and writes the page; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    data = Path(os.environ.get("RECO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (data / FOLDER).is_dir():
        print(f"no photos at {data}; name their folder in RECO_TEST_DATA", file=sys.stderr)
        return 1
    started, busy = time.monotonic(), load_before()
    cv2.setNumThreads(1)  # as in the services
    figures = []
    for figure in measure(data, options.only):
        figures.append(figure)
        print(f"{figure.what}: {figure.value} (goal: {figure.goal or 'none'})", flush=True)
    print("\n" + report.table(figures))
    if set(options.only) == set(PARTS):
        print(f"\nwritten to {report.write(figures, time.monotonic() - started, busy)}")
    return 0


def measure(data: Path, parts: list[str]) -> Iterator[Figure]:
    """The figures of the parts that are wanted."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = data / FOLDER / f"{PROBE}.jpg", enlarge(data / FOLDER / f"{PROBE}.jpg", Path(folder))
        stages = bench_stages.open_stages(small, large)
        if "embedding" in parts:
            yield from bench_stages.embedding(stages)
        if "detection" in parts:
            yield from with_original(1, lambda original: bench_stages.detection(stages, original))
        if "batching" in parts:
            yield from bench_stages.batching(stages)
            yield from bench_stages.detector_batching(stages)
        if "search" in parts:
            yield from search()
        if "people" in parts:
            yield from bench_people.figures(100_000)
        yield from system_figures(data, parts, stages, Path(folder) / "system")


def system_figures(data: Path, parts: list[str], stages: bench_stages.Stages, folder: Path) -> Iterator[Figure]:
    """What needs the whole system running."""
    if not {"verify", "cost", "throughput", "overload", "start"} & set(parts):
        return
    photos = [data / FOLDER / f"{name}.jpg" for name in ENROLLED]
    with System(folder, mirror=data / "weights", environment=UNLIMITED) as system:
        enrolled = bench_system.enroll(system, photos, stages.small, stages.large)
        if "verify" in parts:
            yield from with_original(0, lambda original: bench_system.verifying(enrolled, original))
        if "cost" in parts:
            yield from bench_cost.figures(system, stages.small, enrolled.small_upload, data / "weights")
        if "throughput" in parts:
            yield from bench_services.throughput(system, stages, data / "weights")
        if "overload" in parts:
            yield from bench_system.overload(enrolled)
        if "cost" in parts:
            yield from bench_cost.identifying(system, stages.small, enrolled.small_upload)
    if "start" in parts:
        yield from bench_system.starting(folder / ".env")


def with_original(threads: int, figures: Callable[[Original], Iterator[Figure]]) -> Iterator[Figure]:
    """The figures that what users have today is needed for; says so where it is not to be had."""
    with ExitStack() as stack:
        try:
            original = stack.enter_context(Original(threads))
            yield from figures(original)
        except Absent as error:
            yield Figure("Against what users have today", "", f"not measured: {error}")


def search() -> Iterator[Figure]:
    """The exact index with a million templates, and with those of 10,000 people."""
    options = bench_search.parse(["--queries", "20"])
    large, small = bench_search.run(1_000_000, options), bench_search.run(10_000 * bench_search.PHOTOS, options)
    rivals = ", ".join(f"{name} {ms:.0f}" for name, ms in large.ms.items() if not name.startswith("index"))
    what = "Search, exact, 1,000,000 templates × 128, a query"
    yield at_most(what, 12, large.ms["index, threshold"], " ms", f" ({rivals} ms)")
    yield Figure("… nearest photo the same as in float32", "always", f"{100 * large.right:.0f} %", large.right == 1)
    yield at_most("… memory of the index", 300, large.megabytes, " MB")
    seconds = bench_search.start(1_000_000, options)
    yield Figure("… searchable after a start, from SQLite", "seconds", f"{seconds:.1f} s", seconds < 30)
    what = f"Search, exact, 10,000 people × {bench_search.PHOTOS} photos, a query"
    yield at_most(what, 1, small.ms["index, threshold"], " ms")


def enlarge(photo: Path, folder: Path) -> Path:
    """The photo at 12 million pixels, with a sensor's noise (else it would be decoded faster than a phone's)."""
    pixels = decode(photo.read_bytes())
    zoom = (LARGE_PIXELS / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    large = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 4, large.shape[:2]).astype(np.float32)
    noisy = (large + noise[..., None]).clip(0, 255).astype(np.uint8)
    path = folder / "large.jpg"
    cv2.imwrite(str(path), noisy, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


if __name__ == "__main__":
    sys.exit(main())
