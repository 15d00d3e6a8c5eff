"""The search index of one process: exact, in a quarter of the memory, while people come and go."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from services.embedder.gallery.templates import Templates
from services.embedder.matching import Metric, unit
from services.embedder.search.certain import Candidates, nearest, squared
from services.embedder.search.codes import CodedTemplates, candidates, empty_block, to_probe
from services.embedder.search.index import Hit, Rows, to_rows

#: About as many of a block's rows are averaged for its mean.
MEAN_ROWS = 4096


class ExactIndex:
    """An Index (index.py) of 8-bit codes that are read in full at every search, by several threads where it is large.

    The codes rule out almost all templates; the few that they leave in question are compared in full, so that the
    result is that of comparing everything in double precision. Writers make new states of blocks and put them in place
    at once; a search uses the states that it began with. Rows of people forgotten are squeezed out when they are half of
    a block.
    """

    def __init__(
        self,
        dimension: int,
        directory: Path | None = None,
        threads: int = 2,
        block_bytes: int = 8 << 20,
        first_rows: int = 1024,
    ):
        """
        Args:
            dimension: of the templates, up to 8192: 32 bits hold the sum of as many products.
            directory: for temporary files, 4 bytes a number; on a disk rather than in memory. None: the system's.
            threads: that one search may use: its caller's, and those of these that are free.
            block_bytes: of codes in a full block: large enough to make light of what a call costs, and small enough
                that writing one anew takes half a second.
            first_rows: that the first block has room for.
        """
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._first_rows = first_rows
        self._capacity = 1 << max(first_rows, block_bytes // dimension).bit_length() - 1
        self._threads = threads
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="search")
        self._blocks: Sequence[CodedTemplates] = ()
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def add(self, people: Mapping[str, Templates]) -> None:
        with self._writing:
            self._blocks = self._extended(self._blocks, to_rows(people))

    def apply(self, changes: Mapping[str, Templates]) -> None:
        with self._writing:
            rows, blocks = to_rows(changes), []
            for before in self._blocks:
                after = before.without(changes.keys())
                if after is not before and len(after) <= after.count // 2:
                    rows = after.rows() + rows
                else:
                    blocks.append(after)
            self._blocks = self._extended(blocks, rows)

    def people_of(self, bucket: int) -> set[str]:
        return {person_id for block in self._blocks for person_id in block.people_of(bucket)}

    def search(self, probes: np.ndarray, metric: Metric, threshold: float, people: int = 1) -> list[list[Hit]]:
        blocks, asked = self._blocks, [to_probe(vector) for vector in probes]
        raw, limit = metric is Metric.EUCLIDEAN, squared(metric, threshold)
        waiting = iter(blocks)  # whichever thread is free takes the next one

        def scan() -> list[list[Candidates | None]]:
            return [[candidates(block, probe, raw, limit, people == 1) for probe in asked] for block in waiting]

        helpers = [self._helpers.submit(scan) for _ in range(min(self._threads, len(blocks)) - 1)]
        found = scan()
        found += [some for helper in helpers if not helper.cancel() for some in helper.result()]
        return [
            nearest(probe, metric, threshold, [one for some in found if (one := some[number])], people)
            for number, probe in enumerate(probes)
        ]

    def _extended(self, blocks: Sequence[CodedTemplates], rows: Rows) -> Sequence[CodedTemplates]:
        """With more rows: in the room that the last block has left, and in new blocks."""
        result = list(blocks)
        if result:
            last = result.pop()
            room = last.capacity - last.count
            if len(rows) > room and last.capacity < self._capacity:
                rows = last.rows() + rows  # goes into a larger one
            else:
                result.append(last.extended(rows[:room]))
                rows = rows[room:]
        for start in range(0, len(rows), self._capacity):
            result.append(self._new_block(rows[start : start + self._capacity]))
        return result

    def _new_block(self, rows: Rows) -> CodedTemplates:
        """A block of these rows, with room for as many again."""
        capacity = min(self._capacity, max(self._first_rows, 1 << (2 * len(rows) - 1).bit_length()))
        some = rows.vectors[:: max(1, len(rows) // MEAN_ROWS)]
        mean = unit(some).mean(axis=0).astype(np.float32)
        return empty_block(capacity, mean, self._directory).extended(rows)
