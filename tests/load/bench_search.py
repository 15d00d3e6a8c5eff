"""How fast, how large and how right the search index is, next to comparing everything in single precision.

usage: python -m tests.load.bench_search [--templates 10000 1000000] [--dimension 128] [--queries 30] [--directory DIR]

The contenders take turns, some queries each, so that a busy machine slows all of them alike. Templates are random unit
vectors that cluster like faces: a part that all share, one of the person (ten photos each) and one of the photo.
"""

import argparse
import gc
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Engine, insert, make_url

from services.common.database import open_engine, writing
from services.embedder.gallery import tables
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import Templates
from services.embedder.matching import Metric
from services.embedder.search.exact import ExactIndex
from services.embedder.search.follow import LocalIndex

PHOTOS = 10
MODEL = "bench:1"
BATCH_PEOPLE = 400
#: Queries that a contender answers before it is the next one's turn.
TURN = 5
#: Distance within which to search: that of a model's threshold. Half of the queries are of people who are not enrolled.
THRESHOLD = 0.3

Answer = TypeVar("Answer")


def person(number: int, dimension: int, photos: int = PHOTOS) -> np.ndarray:
    """float32 (photos, dimension), unit length; pairs of one person are some 0.2 apart in cosine, of two some 0.75."""
    rng = np.random.default_rng(number)
    shared = np.random.default_rng(0).normal(size=dimension) * 0.5
    vectors = shared + rng.normal(size=dimension) * 0.8 + rng.normal(size=(photos, dimension)) * 0.45
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def batches(people: int, dimension: int) -> Iterator[dict[str, Templates]]:
    """All people, in the pieces that the gallery would hand over."""
    names = tuple(f"20250301-{number:04}.png" for number in range(PHOTOS))
    flags = np.zeros(PHOTOS, dtype=bool)
    for start in range(0, people, BATCH_PEOPLE):
        some = range(start, min(people, start + BATCH_PEOPLE))
        yield {f"RECO_ID_{number:06}": Templates(names, flags, person(number, dimension)) for number in some}


def queries(count: int, people: int, dimension: int) -> np.ndarray:
    """float32 (count, dimension): another photo of somebody enrolled, and of somebody not, in turn."""
    numbers = [turn * people // count if turn % 2 == 0 else people + turn for turn in range(count)]
    return np.stack([person(number, dimension, PHOTOS + 1)[-1] for number in numbers])


def resident() -> float:
    """MB of memory that this process has to itself now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def rivals(vectors: np.ndarray) -> dict[str, Callable[[np.ndarray], int]]:
    """Ways of comparing everything in single precision; each gives the row of the nearest."""
    found = {"numpy float32": lambda query: int((vectors @ query).argmax())}
    try:
        import faiss
    except ImportError:
        return found
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    return found | {"faiss IndexFlatIP": lambda query: int(flat.search(query[None], 1)[1][0, 0])}


def timed(times: list[tuple[float, float]], function: Callable[[np.ndarray], Answer], query: np.ndarray) -> Answer:
    """Calls the function and notes the milliseconds that passed, and those that processors worked for us."""
    wall, work = time.perf_counter(), time.process_time()
    result = function(query)
    times.append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - work)))
    return result


@dataclass(frozen=True)
class Searched:
    """Milliseconds a query (medians, by contender), the share of queries whose nearest was the true one, the index's
    megabytes and the seconds that it took to build."""

    ms: dict[str, float]
    right: float
    megabytes: float
    seconds: float


def measure(index: ExactIndex, vectors: np.ndarray, asked: np.ndarray) -> tuple[dict[str, float], float]:
    """Prints milliseconds a query of all contenders, and how often the index names the true nearest; gives the medians
    and the share of right answers."""
    contenders = {
        "index, no limit": lambda query: index.search(query[None], Metric.COSINE, 2.0)[0][0],
        "index, threshold": lambda query: index.search(query[None], Metric.COSINE, THRESHOLD)[0][:1],
        **rivals(vectors),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    found: dict[str, list[Any]] = {name: [] for name in contenders}
    for start in range(0, len(asked), TURN):
        for name, search in contenders.items():
            time.sleep(0.1)  # the threads of who came before go on spinning for a while
            search(asked[start])  # measured is what comes after its like
            found[name] += [timed(times[name], search, query) for query in asked[start : start + TURN]]
    nearest = [(f"RECO_ID_{row // PHOTOS:06}", f"20250301-{row % PHOTOS:04}.png") for row in found["numpy float32"]]
    right = sum(
        (hit.person_id, hit.photo_id) == row for hit, row in zip(found["index, no limit"], nearest, strict=True)
    )
    print(f"  same nearest photo as float32: {right} of {len(asked)}")
    for name, pairs in times.items():
        wall, work = zip(*pairs, strict=True)
        figures = f"median {statistics.median(wall):7.2f} ms, best {min(wall):7.2f}, worst {max(wall):7.2f}"
        print(f"  {name:18} {figures}; of the processors median {statistics.median(work):7.2f} ms")
    return {name: statistics.median(wall for wall, _ in pairs) for name, pairs in times.items()}, right / len(asked)


def new_index(options: argparse.Namespace) -> ExactIndex:
    """An empty one."""
    return ExactIndex(options.dimension, options.directory, options.threads)


def run(templates: int, options: argparse.Namespace) -> Searched:
    """Builds an index of that many templates and measures it."""
    people = templates // PHOTOS
    print(f"{people * PHOTOS} templates x {options.dimension}, {options.threads} threads")
    index = new_index(options)
    asked = queries(options.queries, people, options.dimension)
    gc.collect()
    before, seconds = resident(), 0.0
    for batch in batches(people, options.dimension):
        started = time.perf_counter()
        index.add(batch)
        seconds += time.perf_counter() - started
    index.search(asked[:1], Metric.COSINE, THRESHOLD)
    gc.collect()
    megabytes = resident() - before
    print(f"  built in {seconds:.1f} s; process {resident():.0f} MB, of which the index {megabytes:.0f} MB")
    started = time.perf_counter()
    index.apply({"RECO_ID_new": next(batches(1, options.dimension))["RECO_ID_000000"]})
    print(f"  a person added in {1000 * (time.perf_counter() - started):.2f} ms", end="")
    started = time.perf_counter()
    index.apply({"RECO_ID_new": next(batches(1, options.dimension))["RECO_ID_000000"]})
    print(f", replaced in {1000 * (time.perf_counter() - started):.2f} ms")
    vectors = np.concatenate([those.vectors for some in batches(people, options.dimension) for those in some.values()])
    ms, right = measure(index, vectors, asked)
    return Searched(ms, right, megabytes, seconds)


def start(templates: int, options: argparse.Namespace) -> float:
    """Seconds until that many templates, stored in SQLite, can be searched by a process that has just started."""
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        engine = open_engine(make_url(f"sqlite:///{folder}/gallery.db"))
        gallery = Gallery(lambda: engine)
        gallery.revision()  # makes the tables
        for number, batch in enumerate(batches(templates // PHOTOS, options.dimension)):
            fill(engine, batch, number * BATCH_PEOPLE)
        local = LocalIndex(gallery, MODEL, lambda: new_index(options))
        started = time.perf_counter()
        count = len(local.current())
        seconds = time.perf_counter() - started
        engine.dispose()
    assert count == templates
    print(f"  {count} templates searchable {seconds:.1f} s after a start")
    return seconds


def fill(engine: Engine, people: dict[str, Templates], revision: int) -> None:
    """Stores people as the gallery does, but all at once."""
    rows = [
        {"person_id": person_id, "photo_id": photo_id, "model": MODEL, "augmented": False, "vector": vector.tobytes()}
        for person_id, those in people.items()
        for photo_id, vector in zip(those.photo_ids, those.vectors, strict=True)
    ]
    changed = [
        {"person_id": person_id, "revision": revision + number, "models": MODEL}
        for number, person_id in enumerate(people, 1)
    ]
    with writing(engine) as connection:
        connection.execute(insert(tables.templates), rows)
        connection.execute(insert(tables.people), changed)


def main() -> None:
    """Runs the benchmark."""
    options = parse(None)
    for templates in options.templates:
        run(templates, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Options, from the command line where None is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--templates", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=None)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
