"""Full templates in temporary files, for the few of them that a search compares in full."""

import os
import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from services.embedder.search.index import Rows


class TemplateFile:
    """A temporary file that keeps full templates and their ids by row. It goes with the object, or the process.

    It is read by `pread` and not mapped: the pages stay the system's to keep or to drop, and are not our memory.
    """

    def __init__(self, directory: Path | None, capacity: int, dimension: int):
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        self._row_bytes = 4 * dimension
        self._ids_at = capacity * self._row_bytes
        self._ends = np.zeros(capacity + 1, dtype=np.uint32)  # where the ids of each row end, in the file's second part

    def write(self, start: int, rows: Rows) -> None:
        """Writes rows from `start` on, right behind those written before."""
        records = [f"{person_id}\0{photo_id}".encode() for person_id, photo_id in rows.ids]
        ends = self._ends[start] + np.cumsum([len(record) for record in records], dtype=np.uint32)
        self._ends[start + 1 : start + 1 + len(rows)] = ends
        self._file.seek(start * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows.vectors, dtype=np.float32).data)
        self._file.seek(self._ids_at + int(self._ends[start]))
        self._file.write(b"".join(records))
        self._file.flush()

    def first(self, count: int) -> Rows:
        """The first `count` rows."""
        records = self._read(self._ids_at, int(self._ends[count]))
        ids = [_to_ids(records[start:end]) for start, end in pairwise(self._ends[: count + 1].tolist())]
        return Rows(self._vectors(self._read(0, count * self._row_bytes)), ids)

    def some(self, rows: Iterable[int]) -> Rows:
        """These rows."""
        chosen = list(rows)
        vectors = b"".join(self._read(row * self._row_bytes, self._row_bytes) for row in chosen)
        return Rows(self._vectors(vectors), [self.ids(row) for row in chosen])

    def ids(self, row: int) -> tuple[str, str]:
        """(person id, photo id)."""
        start, end = int(self._ends[row]), int(self._ends[row + 1])
        return _to_ids(self._read(self._ids_at + start, end - start))

    def _read(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)

    def _vectors(self, stored: bytes) -> np.ndarray:
        return np.frombuffer(stored, dtype=np.float32).reshape(-1, self._row_bytes // 4)


def _to_ids(record: bytes) -> tuple[str, str]:
    person_id, photo_id = record.decode().split("\0")
    return person_id, photo_id
