"""Lists of photo pairs: LFW's format, and all pairs of folders of people."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Of more pairs than this, which some 3,000 photos have, all of one person are taken, and of two people so many by chance.
MAX_PAIRS = 5_000_000
SEED = 1


@dataclass(frozen=True)
class PairList:
    """Pairs of photos.

    Attributes:
        photos: paths.
        left, right: int (n,) indices into photos.
        same: bool (n,), whether a pair shows one person.
        folds: int (n,), 0 throughout where the list has no folds.
    """

    photos: tuple[Path, ...]
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    folds: np.ndarray

    @property
    def has_folds(self) -> bool:
        return bool(self.folds.max(initial=0))


def read_pairs(file: Path, folder: Path) -> PairList:
    """Reads LFW's pairs.txt or pairsDevTest.txt.

    The first line says "pairs" or "folds pairs"; then, in each fold, as many lines "name n m" (same person) and
    "name n other m" (two people), separated by tabs. Photos are <folder>/<name>/<name>_<nnnn>.jpg.

    Raises:
        ValueError: a line is not of that form.
    """
    head, *lines = (line.split("\t") for line in file.read_text().splitlines() if line.strip())
    fold_size = 2 * int(head[-1])
    index: dict[Path, int] = {}
    rows = []
    for number, fields in enumerate(lines):
        if len(fields) not in (3, 4):
            raise ValueError(f"{file}: {fields} is neither a pair of one person nor of two")
        name, first, *other, second = fields
        ends = [_photo(folder, name, first), _photo(folder, other[0] if other else name, second)]
        left, right = (index.setdefault(path, len(index)) for path in ends)
        rows.append((left, right, not other, number // fold_size))
    return PairList(tuple(index), *(np.array(column) for column in zip(*rows, strict=True)))


def _photo(folder: Path, name: str, number: str) -> Path:
    return folder / name / f"{name}_{int(number):04d}.jpg"


def all_pairs(folder: Path) -> PairList:
    """Every pair of the photos in <folder>/<person>/. Raises ValueError as `pairs_of`."""
    return pairs_of(tuple(sorted(p for p in folder.glob("*/*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))))


def pairs_of(photos: tuple[Path, ...], most: int = MAX_PAIRS) -> PairList:
    """Every pair of these photos, each in a folder of its person; of more than `most` see MAX_PAIRS.

    Raises:
        ValueError: there are no two photos.
    """
    if len(photos) < 2:
        raise ValueError(f"{len(photos)} photos in folders of people are too few")
    people = np.unique([path.parent.name for path in photos], return_inverse=True)[1]
    if len(photos) * (len(photos) - 1) // 2 <= most:
        left, right = np.triu_indices(len(photos), 1)
    else:
        left, right = _some_pairs(people, most)
    return PairList(photos, left, right, people[left] == people[right], np.zeros(len(left), int))


def _some_pairs(people: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of one person, and `most` of two people by chance, always the same ones."""
    order = np.argsort(people, kind="stable")
    bounds = np.flatnonzero(np.diff(people[order])) + 1
    same = [
        (group[rows], group[columns])
        for group in np.split(order, bounds)
        for rows, columns in [np.triu_indices(len(group), 1)]
    ]
    rng = np.random.default_rng(SEED)
    left, right = rng.integers(0, len(people), (2, most))
    different = people[left] != people[right]
    pairs = [*same, (left[different], right[different])]
    return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])
