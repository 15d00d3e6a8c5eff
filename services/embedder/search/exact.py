"""The search index of one process: exact, in a quarter of the memory, while people come and go."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np

from services.embedder.gallery.templates import Templates
from services.embedder.integer_products import IntegerProducts
from services.embedder.matching import Metric, distances, unit
from services.embedder.search.codes import Candidates, Probe, Segment, candidates, empty_segment, to_probe
from services.embedder.search.index import Hit
from services.embedder.search.template_file import Rows

Found = TypeVar("Found")

#: Bytes of codes in a full segment: large enough to make light of what a call costs, and small enough that writing one
#: anew takes half a second.
SEGMENT_BYTES = 8 << 20
#: Rows that the first segment has room for.
FIRST_ROWS = 1024
#: About as many of a segment's rows are looked at for their center.
CENTER_ROWS = 4096
#: Probes compared at a time, and candidates looked at in full at a time.
PROBE_BATCH = 16
RERANK_BATCH = 32


class ExactIndex:
    """An Index (index.py) of 8-bit codes that are read in full at every search, by several threads where it is large.

    The codes rule out almost all templates; the few that they leave in question are compared in full, so that the
    result is that of comparing everything in double precision. Writers make new states of segments and put them in
    place at once; a search uses the states that it began with. Rows of people forgotten are squeezed out when they are
    half of a segment.
    """

    def __init__(self, dimension: int, products: IntegerProducts, directory: Path | None = None, threads: int = 2):
        """
        Args:
            dimension: of the templates.
            products: multiplies probes by codes.
            directory: for temporary files, 4 bytes a number; on a disk rather than in memory. None: the system's.
            threads: that one search may use.
        """
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        self._products = products
        self._directory = directory
        self._threads = threads
        self._capacity = 1 << max(FIRST_ROWS, SEGMENT_BYTES // dimension).bit_length() - 1
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="search")
        self._segments: tuple[Segment, ...] = ()
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return sum(len(segment.live()) for segment in self._segments)

    def add(self, people: Mapping[str, Templates]) -> None:
        with self._writing:
            self._segments = tuple(self._extended(list(self._segments), _to_rows(people)))

    def apply(self, changes: Mapping[str, Templates]) -> None:
        with self._writing:
            owners = np.array([hash(person_id) for person_id in changes], dtype=np.int64)
            rows, segments = _to_rows(changes), []
            for before in self._segments:
                after = before.without(changes.keys(), owners)
                if after is not before and len(after.live()) <= after.count // 2:
                    rows = after.rows() + rows if len(rows) else after.rows()
                else:
                    segments.append(after)
            self._segments = tuple(self._extended(segments, rows))

    def search(self, probes: np.ndarray, metric: Metric, threshold: float) -> list[Hit | None]:
        segments = self._segments
        pieces = (probes[start : start + PROBE_BATCH] for start in range(0, len(probes), PROBE_BATCH))
        return [hit for piece in pieces for hit in self._search(segments, piece, metric, threshold)]

    def _search(
        self, segments: Sequence[Segment], vectors: np.ndarray, metric: Metric, threshold: float
    ) -> list[Hit | None]:
        probes = [to_probe(vector) for vector in vectors]
        digits = np.stack([probe.digits for probe in probes])
        limit = _squared(metric, threshold)

        def scan(segment: Segment) -> list[Candidates]:
            products = self._products(digits, segment.codes[: segment.count])
            raw = metric is Metric.EUCLIDEAN
            return [candidates(segment, probe, row, raw, limit) for probe, row in zip(probes, products, strict=True)]

        found = self._spread(scan, segments)
        return [_nearest(metric, probe, [row[i] for row in found], threshold) for i, probe in enumerate(probes)]

    def _spread(self, work: Callable[[Segment], Found], segments: Sequence[Segment]) -> list[Found]:
        """Work on each segment: in this thread, and in helpers as far as they are free."""
        waiting = iter(segments)  # whoever is free takes the next one

        def work_off() -> list[Found]:
            return [work(segment) for segment in waiting]

        helpers = [self._helpers.submit(work_off) for _ in range(min(self._threads, len(segments)) - 1)]
        done = work_off()
        return done + [one for helper in helpers if not helper.cancel() for one in helper.result()]

    def _extended(self, segments: list[Segment], rows: Rows) -> list[Segment]:
        """With more rows: in the room that the last segment has left, and in new segments."""
        if segments:
            last = segments.pop()
            room = last.capacity - last.count
            if len(rows) > room and last.capacity < self._capacity:
                rows = last.rows() + rows  # goes into a larger one
            else:
                segments.append(last.extended(rows[:room]))
                rows = rows[room:]
        for start in range(0, len(rows), self._capacity):
            segments.append(self._new_segment(rows[start : start + self._capacity]))
        return segments

    def _new_segment(self, rows: Rows) -> Segment:
        """A segment of these rows, with room for as many again."""
        capacity = min(self._capacity, max(FIRST_ROWS, 1 << (2 * len(rows) - 1).bit_length()))
        some = rows.vectors[:: max(1, len(rows) // CENTER_ROWS)]
        center = unit(some).mean(axis=0).astype(np.float32)
        return empty_segment(capacity, center, self._directory).extended(rows)


def _nearest(metric: Metric, probe: Probe, found: Sequence[Candidates], threshold: float) -> Hit | None:
    """Compares the candidates in full, the most promising first, until no other can be as near."""
    limit = min([_squared(metric, threshold), *(one.at_most for one in found)])
    rows = [(bound, one.segment.shelf, row) for one in found for bound, row in one.pairs() if bound <= limit]
    rows.sort(key=itemgetter(0))
    best, ties = np.inf, []
    for start in range(0, len(rows), RERANK_BATCH):
        batch = rows[start : start + RERANK_BATCH]
        if batch[0][0] > _squared(metric, best):
            break
        stored = np.stack([shelf.vector(row) for _, shelf, row in batch])
        exact = distances(metric, probe.vector[None], stored)[0].tolist()
        if min(exact) < best:
            best, ties = min(exact), []
        ties += [(shelf, row) for (_, shelf, row), distance in zip(batch, exact, strict=True) if distance == best]
    if not ties or best > threshold:
        return None
    return Hit(*min(shelf.ids(row) for shelf, row in ties), best)


def _squared(metric: Metric, distance: float) -> float:
    """The squared L2 distance that a distance stands for; for cosine, that of the directions."""
    return 2 * distance if metric is Metric.COSINE else distance**2


def _to_rows(people: Mapping[str, Templates]) -> Rows:
    those = [(person_id, templates) for person_id, templates in people.items() if len(templates)]
    ids = [(person_id, photo_id) for person_id, templates in those for photo_id in templates.photo_ids]
    if not ids:
        return Rows(np.zeros((0, 0), dtype=np.float32), [])
    return Rows(np.concatenate([templates.vectors for _, templates in those]), ids)
