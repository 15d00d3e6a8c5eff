"""A piece of the search index: some thousand templates as 8-bit codes in memory, and in full in a temporary file.

A template's direction u (unit length) is kept as u = center + scale * code + e, the code being int8 numbers and the
error e no longer than `residual`. A probe's direction is v = step * digits + f with 12-bit digits. So v·u is known
from integer products to within `residual` + |f| * `radius` (Cauchy-Schwarz), and with it every distance; only templates
that this leaves in question are read from the file. `center` is the mean direction of the templates: faces of all
people have much in common, and what is left without it is shorter, so coded more finely.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from services.embedder.matching import unit
from services.embedder.search.template_file import Rows, Shelf

#: Codes span -127 to 127, the probe's digits -2047 to 2047: 32 bits hold the sum of 8192 products.
CODE_RANGE = 127
DIGIT_RANGE = 2047

#: Rows coded at a time: bounds the memory that this takes besides.
ROWS_AT_ONCE = 4096

#: Relative error that single precision may add to a bound, generously.
ROUNDING = 2e-6


@dataclass(frozen=True)
class Probe:
    """A template that is searched for.

    Attributes:
        vector: float32 (d,), raw.
        direction: float64 (d,), at unit length.
        length: of the raw template.
        digits: int16 (d,), step, slack: direction = step * digits + an error of length `slack`.
    """

    vector: np.ndarray
    direction: np.ndarray
    length: float
    digits: np.ndarray
    step: float
    slack: float


def to_probe(vector: np.ndarray) -> Probe:
    """Prepares a raw template, float32 (d,), not all zero."""
    direction = unit(vector[None])[0]
    step = float(np.abs(direction).max()) / DIGIT_RANGE
    digits = np.rint(direction / step)
    slack = float(np.linalg.norm(direction - step * digits))
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return Probe(vector, direction, length, digits.astype(np.int16), step, slack)


@dataclass(frozen=True)
class Segment:
    """A state of a piece of the index. Later states share its arrays, but never change what it shows.

    Attributes:
        shelf: full templates and ids.
        center: float32 (d,), subtracted before coding.
        codes: int8 (capacity, d).
        scale: float32 (capacity,): of each code; not a number where the row is forgotten.
        length: float32 (capacity,): of the raw templates.
        owner: int64 (capacity,): hash of the person id.
        count: rows in use, the forgotten ones included.
        residual: none of the directions is farther from its code than this.
        radius: none of the coded directions is farther from the center than this.
    """

    shelf: Shelf
    center: np.ndarray
    codes: np.ndarray
    scale: np.ndarray
    length: np.ndarray
    owner: np.ndarray
    count: int = 0
    residual: float = 0.0
    radius: float = 0.0

    @property
    def capacity(self) -> int:
        return len(self.codes)

    def live(self) -> np.ndarray:
        """The rows that are not forgotten, ascending."""
        return np.flatnonzero(~np.isnan(self.scale[: self.count]))

    def rows(self) -> Rows:
        """All that is not forgotten."""
        live = self.live()
        stored = self.shelf.read(self.count)
        if len(live) == self.count:
            return stored
        return Rows(stored.vectors[live], [stored.ids[row] for row in live.tolist()])

    def extended(self, rows: Rows) -> "Segment":
        """With more rows; there must be room for them. Only the newest state may be extended."""
        state = self
        for start in range(0, len(rows), ROWS_AT_ONCE):
            state = state._coded(rows[start : start + ROWS_AT_ONCE])
        return state

    def _coded(self, rows: Rows) -> "Segment":
        new = slice(self.count, self.count + len(rows))
        self.shelf.write(self.count, rows)
        lengths = _lengths(rows.vectors)
        offsets = rows.vectors / lengths[:, None] - self.center
        scale = np.maximum(np.abs(offsets).max(axis=1), 1e-12) / CODE_RANGE
        codes = np.rint(offsets / scale[:, None])
        coded = codes * scale[:, None]
        self.codes[new] = codes
        self.scale[new] = scale
        self.length[new] = lengths
        self.owner[new] = [hash(person_id) for person_id, _ in rows.ids]
        residual = max(self.residual, float(_lengths(offsets - coded).max()))
        radius = max(self.radius, float(_lengths(coded).max()))
        return replace(self, count=new.stop, residual=residual, radius=radius)

    def without(self, people: Collection[str], owners: np.ndarray) -> "Segment":
        """Without the rows of these people; `owners` (int64) are the hashes of their ids."""
        suspects = np.flatnonzero(np.isin(self.owner[: self.count], owners)).tolist()
        gone = [row for row in suspects if not np.isnan(self.scale[row]) and self.shelf.ids(row)[0] in people]
        if not gone:
            return self
        scale = self.scale.copy()
        scale[gone] = np.nan
        return replace(self, scale=scale)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def empty_segment(capacity: int, center: np.ndarray, directory: Path | None) -> Segment:
    """Room for `capacity` templates around `center`, float32 (d,); its file goes into `directory`."""
    return Segment(
        shelf=Shelf(directory, capacity, len(center)),
        center=center,
        codes=np.zeros((capacity, len(center)), dtype=np.int8),
        scale=np.zeros(capacity, dtype=np.float32),
        length=np.ones(capacity, dtype=np.float32),
        owner=np.zeros(capacity, dtype=np.int64),
    )


@dataclass(frozen=True)
class Candidates:
    """Templates of a segment that may be the nearest to a probe.

    Attributes:
        segment: theirs.
        rows: int64 (n,).
        at_least: float32 (n,): their squared distances are no less.
        at_most: the nearest one's squared distance is no more; infinite where there is none.
    """

    segment: Segment
    rows: np.ndarray
    at_least: np.ndarray
    at_most: float

    def pairs(self) -> Iterable[tuple[float, int]]:
        """(at_least, row) of each."""
        return zip(self.at_least.tolist(), self.rows.tolist(), strict=True)


@dataclass(frozen=True)
class Cosine:
    """How a template's cosine with the probe follows from its integer product: common + step * near +- error."""

    common: float
    step: float
    error: float


def candidates(segment: Segment, probe: Probe, products: np.ndarray, raw: bool, limit: float) -> Candidates:
    """Narrows a segment down to the templates that may be the nearest within a limit.

    Args:
        products: int32 (count,): of the probe's digits and the codes.
        raw: compare raw templates rather than directions.
        limit: squared distance.
    """
    near = products.astype(np.float32)
    near *= segment.scale[: segment.count]  # v·u = common + step * near, give or take `error`; NaN where forgotten
    common = float(probe.direction @ segment.center)
    error = segment.residual + probe.slack * segment.radius + 4 * ROUNDING
    bounds = _raw_bounds if raw else _unit_bounds
    return bounds(segment, probe, near, Cosine(common, probe.step, error), limit)


def _unit_bounds(segment: Segment, probe: Probe, near: np.ndarray, cosine: Cosine, limit: float) -> Candidates:
    """Squared distances of directions: 2 - 2 cos."""
    top = cosine.common + cosine.step * float(np.fmax.reduce(near, initial=-np.inf))
    at_most = 2 - 2 * (top - cosine.error)
    reach = 1 - min(limit, at_most) / 2 - cosine.error
    if top < reach or top == -np.inf:
        return _none(segment)
    rows = np.flatnonzero(near >= np.float32((reach - cosine.common) / cosine.step))
    at_least = 2 - 2 * (cosine.common + cosine.error + cosine.step * near[rows])
    return Candidates(segment, rows, at_least, at_most)


def _raw_bounds(segment: Segment, probe: Probe, near: np.ndarray, cosine: Cosine, limit: float) -> Candidates:
    """Squared distances of raw templates of lengths m and n: m² + n² - 2 m n cos."""
    length = segment.length[: segment.count]
    squares = near
    squares *= np.float32(-2 * probe.length * cosine.step)
    squares -= np.float32(2 * probe.length * cosine.common)
    squares += length
    squares *= length
    squares += np.float32(probe.length**2)
    margin = length * np.float32(ROUNDING)
    margin += np.float32(2 * probe.length * (cosine.error + ROUNDING))
    margin *= length
    margin += np.float32(ROUNDING * probe.length**2)
    at_most = float(np.fmin.reduce(squares + margin, initial=np.inf))
    if at_most == np.inf:
        return _none(segment)
    squares -= margin
    rows = np.flatnonzero(squares <= np.float32(min(limit, at_most)))
    return Candidates(segment, rows, squares[rows], at_most)


def _none(segment: Segment) -> Candidates:
    return Candidates(segment, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), np.inf)
