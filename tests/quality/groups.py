"""Error rates of verification by groups of people: a threshold that serves one group may fail another."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.quality.lfw import PairList


@dataclass(frozen=True)
class GroupRates:
    """Rates of the pairs within a group at a threshold: share of pairs of two people that match, of one that do not."""

    group: str
    people: int
    fmr: float | None
    fnmr: float | None
    impostor: int
    genuine: int


def read_groups(file: Path) -> dict[str, str]:
    """Person → group, of a CSV file with a line each.

    Raises:
        ValueError: a line is not of that form, or names somebody twice.
    """
    groups: dict[str, str] = {}
    with file.open(newline="") as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            if not row:
                continue
            if len(row) != 2 or not all(cell.strip() for cell in row) or row[0].strip() in groups:
                raise ValueError(f"{file}, line {number}: person,group is wanted, each person once")
            groups[row[0].strip()] = row[1].strip()
    return groups


def rates_by_group(
    values: np.ndarray, pairs: PairList, groups: Mapping[str, str], threshold: float
) -> list[GroupRates]:
    """Of each group, and of `everybody`.

    Args:
        values: float64 (n,) distances of the pairs; infinite where one has no face.
    """
    of_photo = np.array([groups.get(photo.parent.name, "") for photo in pairs.photos])
    people = np.array([photo.parent.name for photo in pairs.photos])
    found = [_rates("everybody", values, pairs.same, threshold, len(set(people.tolist())))]
    for group in sorted(set(groups.values())):
        within = (of_photo[pairs.left] == group) & (of_photo[pairs.right] == group)
        count = len(set(people[of_photo == group].tolist()))
        found.append(_rates(group, values[within], pairs.same[within], threshold, count))
    return found


def _rates(group: str, values: np.ndarray, same: np.ndarray, threshold: float, people: int) -> GroupRates:
    matching = values <= threshold
    genuine, impostor = int(same.sum()), int((~same).sum())
    fmr = float(matching[~same].mean()) if impostor else None
    fnmr = float((~matching[same]).mean()) if genuine else None
    return GroupRates(group, people, fmr, fnmr, impostor, genuine)
