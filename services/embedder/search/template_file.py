"""Full templates in temporary files, for the few of them that a search looks at in full."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Templates of photos of any people: float32 (n, d) raw vectors, and (person id, photo id) of each."""

    vectors: np.ndarray
    ids: Sequence[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> "Rows":
        return Rows(self.vectors[rows], self.ids[rows])

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(np.concatenate([self.vectors, other.vectors]), [*self.ids, *other.ids])


class Shelf:
    """A temporary file that keeps full templates and their ids by row. It goes with the object, or the process.

    It is read by `pread` and not mapped: the pages stay the system's to keep or to drop, and are not our memory.
    """

    def __init__(self, directory: Path | None, capacity: int, dimension: int):
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        self._dimension = dimension
        self._ids_at = capacity * dimension * 4
        self._ends = np.zeros(capacity + 1, dtype=np.uint32)  # where the ids of each row end, in the file's second part

    def write(self, start: int, rows: Rows) -> None:
        """Writes rows from `start` on, right behind those written before."""
        records = [f"{person_id}\0{photo_id}".encode() for person_id, photo_id in rows.ids]
        ends = self._ends[start] + np.cumsum([len(record) for record in records], dtype=np.uint32)
        self._ends[start + 1 : start + 1 + len(rows)] = ends
        self._file.seek(start * self._dimension * 4)
        self._file.write(np.ascontiguousarray(rows.vectors, dtype=np.float32).data)
        self._file.seek(self._ids_at + int(self._ends[start]))
        self._file.write(b"".join(records))
        self._file.flush()

    def read(self, count: int) -> Rows:
        """The first `count` rows."""
        vectors = os.pread(self._file.fileno(), count * self._dimension * 4, 0)
        records = os.pread(self._file.fileno(), int(self._ends[count]), self._ids_at)
        ends = self._ends[: count + 1].tolist()
        ids = [_to_ids(records[start:end]) for start, end in pairwise(ends)]
        return Rows(np.frombuffer(vectors, dtype=np.float32).reshape(count, self._dimension), ids)

    def vector(self, row: int) -> np.ndarray:
        """float32 (d,)."""
        size = self._dimension * 4
        return np.frombuffer(os.pread(self._file.fileno(), size, row * size), dtype=np.float32)

    def ids(self, row: int) -> tuple[str, str]:
        """(person id, photo id)."""
        start, end = int(self._ends[row]), int(self._ends[row + 1])
        return _to_ids(os.pread(self._file.fileno(), end - start, self._ids_at + start))


def _to_ids(record: bytes) -> tuple[str, str]:
    person_id, photo_id = record.decode().split("\0")
    return person_id, photo_id
