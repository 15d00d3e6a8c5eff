"""A block of the search index: some thousand templates as 8-bit codes in memory, and in full in a temporary file.

A template's direction u (unit length) is kept by its offset from the block's mean, u - mean = scale * code + e, the
code being int8 numbers. `mean` is the mean direction: faces of all people have much in common, and what is left without
it is shorter, so coded more finely. A probe's direction v is taken the same way, v - mean = step * digits + f. Then
|v - u|² = |v - mean|² + |u - mean|² - 2 scale (step * digits·code + error), where digits·code is exact and |error| at
most |v - mean| |e| / scale + |f| |code| (Cauchy-Schwarz). Only templates that this leaves in question are read from the
file.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import simsimd

from services.embedder.gallery.buckets import BUCKETS, owner_digest
from services.embedder.matching import unit
from services.embedder.search.certain import Candidates, tied
from services.embedder.search.index import Rows
from services.embedder.search.template_file import TemplateFile

#: Codes and digits span -127 to 127; their scale and step are no less than SMALLEST.
CODE_RANGE = 127
SMALLEST = 1e-12

#: What single precision may add, generously: to a squared distance of directions, and to the square of a difference of
#: lengths in proportion to it.
ROUNDING = 1e-5

#: Squared distances of templates are less than this.
FARTHEST = 1e30

#: Rows coded at a time, which bounds the memory that this takes besides, and candidates compared in full at a time.
CODED_AT_ONCE = 1024
READ_AT_ONCE = 16


@dataclass(frozen=True)
class Probe:
    """A template that is searched for: its direction, float64 (d,), at unit length, and its own length."""

    direction: np.ndarray
    length: float


def to_probe(vector: np.ndarray) -> Probe:
    """Prepares a raw template, float32 (d,), not all zero."""
    return Probe(unit(vector[None])[0], float(np.linalg.norm(vector.astype(np.float64))))


@dataclass(frozen=True)
class CodedTemplates:
    """A state of a block. Later states share its arrays, but never change what it shows.

    Attributes:
        file: full templates and ids.
        mean: float32 (d,).
        codes: int8 (capacity, d).
        scale: float32 (capacity,): of each code.
        square: float32 (capacity,): squared distance from the mean; infinite where the row is forgotten.
        length: float32 (capacity,): of the raw templates.
        owner: uint32 (capacity,): see `owners`.
        count: rows in use, the forgotten ones included.
        code_error: |e| / scale of no row is more.
        code_length: |code| of no row is more.
    """

    file: TemplateFile
    mean: np.ndarray
    codes: np.ndarray
    scale: np.ndarray
    square: np.ndarray
    length: np.ndarray
    owner: np.ndarray
    count: int = 0
    code_error: float = 0.0
    code_length: float = 0.0

    @property
    def capacity(self) -> int:
        return len(self.codes)

    def __len__(self) -> int:
        """How many rows are not forgotten."""
        return int(np.isfinite(self.square[: self.count]).sum())

    def rows(self) -> Rows:
        """All that is not forgotten."""
        stored = self.file.first(self.count)
        kept = np.flatnonzero(np.isfinite(self.square[: self.count]))
        return Rows(stored.vectors[kept], [stored.ids[row] for row in kept.tolist()])

    def extended(self, rows: Rows) -> "CodedTemplates":
        """With more rows; there must be room for them. Only the newest state may be extended."""
        state = self
        for start in range(0, len(rows), CODED_AT_ONCE):
            state = state._coded(rows[start : start + CODED_AT_ONCE])
        return state

    def _coded(self, rows: Rows) -> "CodedTemplates":
        new = slice(self.count, self.count + len(rows))
        self.file.write(self.count, rows)
        lengths = _lengths(rows.vectors)
        offsets = rows.vectors / lengths[:, None].astype(np.float32) - self.mean
        scale = np.maximum(np.abs(offsets).max(axis=1) / CODE_RANGE, SMALLEST)
        steps = offsets / scale[:, None]
        codes = np.rint(steps)
        self.codes[new] = codes
        self.scale[new] = scale
        self.square[new] = np.square(_lengths(offsets))
        self.length[new] = lengths
        self.owner[new] = owners(person_id for person_id, _ in rows.ids)
        code_error = max(self.code_error, float(_lengths(steps - codes).max()))
        code_length = max(self.code_length, float(_lengths(codes).max()))
        return replace(self, count=new.stop, code_error=code_error, code_length=code_length)

    def without(self, people: Collection[str]) -> "CodedTemplates":
        """Without the rows of these people."""
        square = self.square[: self.count]
        suspects = np.flatnonzero(np.isin(self.owner[: self.count], owners(people)) & np.isfinite(square))
        gone = [row for row in suspects.tolist() if self.file.ids(row)[0] in people]
        if not gone:
            return self
        square = self.square.copy()
        square[gone] = np.inf
        return replace(self, square=square)

    def people_of(self, bucket: int) -> set[str]:
        """The people in a bucket (gallery/buckets.py) who have rows that are not forgotten."""
        owner = self.owner[: self.count]
        rows = np.flatnonzero((owner // (2**32 // BUCKETS) == bucket) & np.isfinite(self.square[: self.count]))
        return {self.file.ids(row)[0] for row in rows.tolist()}


def owners(person_ids: Iterable[str]) -> np.ndarray:
    """uint32 (n,): the first digits of the ids' digests, by which rows are found without reading the ids of all."""
    return np.array([int(owner_digest(person_id)[:8], 16) for person_id in person_ids], dtype=np.uint32)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return lengths


def empty_block(capacity: int, mean: np.ndarray, directory: Path | None) -> CodedTemplates:
    """Room for `capacity` templates around `mean`, float32 (d,); its file goes into `directory`."""
    return CodedTemplates(
        file=TemplateFile(directory, capacity, len(mean)),
        mean=mean,
        codes=np.zeros((capacity, len(mean)), dtype=np.int8),
        scale=np.zeros(capacity, dtype=np.float32),
        square=np.zeros(capacity, dtype=np.float32),
        length=np.zeros(capacity, dtype=np.float32),
        owner=np.zeros(capacity, dtype=np.uint32),
    )


def candidates(
    block: CodedTemplates, probe: Probe, raw: bool, limit: float, only_nearest: bool = True
) -> Candidates | None:
    """The templates of a block that may be the nearest within a limit, or as near; None where there are none.

    Args:
        raw: compare raw templates rather than directions.
        limit: squared distance.
        only_nearest: leave out what is within the limit and certainly farther than another.
    """
    directions, doubt = _directions(block, probe)
    length = block.length[: block.count]
    at_least = _raw(directions, length, probe.length, 1 - ROUNDING) if raw else directions
    if only_nearest:
        first = int(at_least.argmin())
        at_most = float(directions[first]) + doubt * float(block.scale[first]) + 2 * ROUNDING
        if raw:
            at_most = float(_raw(at_most, length[first], probe.length, 1 + ROUNDING))
        limit = min(limit, tied(max(at_most, 0.0)))
    rows = np.flatnonzero(at_least <= np.float32(min(limit, FARTHEST)))
    rows = rows[np.argsort(at_least[rows], kind="stable")]
    return _in_turn(block.file, rows, at_least[rows])


def _directions(block: CodedTemplates, probe: Probe) -> tuple[np.ndarray, float]:
    """What the squared distances of directions are no less than, float32 (count,); infinite where a row is forgotten.

    Returns:
        That, and how much more they may be at most, in `scale` of their row; ROUNDING comes twice on top.
    """
    offset = probe.direction - block.mean
    step = max(float(np.abs(offset).max()) / CODE_RANGE, SMALLEST)
    digits = np.rint(offset / step)
    distance, rest = np.linalg.norm(offset), np.linalg.norm(offset - step * digits)
    error = float(distance * block.code_error + rest * block.code_length)
    products = simsimd.cdist(digits.astype(np.int8)[None], block.codes[: block.count], "dot", out_dtype="float32")
    squares = np.asarray(products)[0]  # not by out=…, which takes a reference to None too many at every call
    squares += error / step
    squares *= block.scale[: block.count]
    squares *= -2 * step
    squares += block.square[: block.count]
    squares += float(distance**2) - ROUNDING
    return squares, 4 * error


def _raw(directions: np.ndarray | float, lengths: np.ndarray, length: float, share: float) -> np.ndarray:
    """Squared distances of raw templates of lengths m and n, |m v - n u|² = (m - n)² + m n |v - u|²."""
    return share * (lengths - length) ** 2 + lengths * length * directions


def _in_turn(file: TemplateFile, rows: np.ndarray, at_least: np.ndarray) -> Candidates | None:
    """These rows of a file, the most promising first, some at a time."""
    if not len(rows):
        return None

    def read() -> tuple[Rows, list[Candidates]]:
        rest = _in_turn(file, rows[READ_AT_ONCE:], at_least[READ_AT_ONCE:])
        return file.some(rows[:READ_AT_ONCE].tolist()), [rest] if rest else []

    return Candidates(float(at_least[0]), read)
