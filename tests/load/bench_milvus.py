"""What a search costs in a real Milvus server, next to the index in the process, on the same templates in SQLite.

usage: python -m tests.load.bench_milvus [--templates 1000000] [--dimension 128] [--queries 30]

The two take turns, some queries each. Templates as in bench_search.py.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import make_url

from services.common.database import open_engine
from services.embedder.gallery.store import Gallery
from services.embedder.matching import Metric
from services.embedder.search.exact import ExactIndex
from services.embedder.search.follow import LocalIndex
from services.embedder.search.index import Searchable
from services.embedder.search.milvus.collections import CollectionTable
from services.embedder.search.milvus.index import Milvus
from services.embedder.search.milvus.shared import SharedIndexes
from tests.load.bench_search import BATCH_PEOPLE, MODEL, PHOTOS, THRESHOLD, TURN, batches, fill, queries, timed
from tests.milvus import RealServer


def main() -> None:
    """Prints what each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--templates", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=30)
    options = parser.parse_args()
    if RealServer.missing:
        sys.exit(RealServer.missing)
    with tempfile.TemporaryDirectory() as folder, RealServer(Path(folder)) as server:
        engine = open_engine(make_url(f"sqlite:///{folder}/gallery.db"))
        gallery = Gallery(lambda: engine)
        gallery.revision()  # makes the tables
        people = options.templates // PHOTOS
        for number, batch in enumerate(batches(people, options.dimension)):
            fill(engine, batch, number * BATCH_PEOPLE)
        milvus = Milvus(server.uri)
        shared = SharedIndexes(gallery, CollectionTable(gallery, "bench"), milvus)
        local = LocalIndex(gallery, MODEL, lambda: ExactIndex(options.dimension, Path(folder), 2))
        asked = queries(options.queries, people, options.dimension)
        indexes = {
            "in the process": first(local.current, asked[:1]),
            "Milvus": first(lambda: shared.current(MODEL, options.dimension), asked[:1]),
        }
        compare(indexes, asked)
        print(
            f"  the server's memory at its most: {peak_mb(server.pid):.0f} MB; its files: {megabytes(server.folder):.0f} MB"
        )
        milvus.close()
        engine.dispose()


def first(opened: Callable[[], Searchable], probe: np.ndarray) -> Searchable:
    """Prints how long it takes until an index can be searched."""
    started = time.perf_counter()
    index = opened()
    index.search(probe, Metric.COSINE, THRESHOLD)
    print(f"  searchable after {time.perf_counter() - started:.1f} s")
    return index


def compare(indexes: dict[str, Searchable], asked: np.ndarray) -> None:
    """Prints milliseconds a query, and how often both find the same."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in indexes}
    found: dict[str, list[object]] = {name: [] for name in indexes}
    for start in range(0, len(asked), TURN):
        for name, index in indexes.items():
            for probe in asked[start : start + TURN]:
                hits = timed(times[name], lambda query: index.search(query[None], Metric.COSINE, THRESHOLD), probe)  # noqa: B023
                found[name].append([(hit.person_id, hit.photo_id) for hit in hits[0]])
    for name, pairs in times.items():
        wall = [pair[0] for pair in pairs]
        print(f"  {name:16} median {statistics.median(wall):7.2f} ms, best {min(wall):7.2f}, worst {max(wall):7.2f}")
    one, other = found.values()
    same = sum(a == b for a, b in zip(one, other, strict=True))
    print(f"  same photos found: {same} of {len(asked)}, {sum(map(bool, one))} with any")


def peak_mb(pid: int) -> float:
    """Of memory that a process has had at most."""
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) / 1000


def megabytes(folder: Path) -> float:
    """That files hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
