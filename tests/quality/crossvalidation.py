"""Error rates at thresholds that were fitted on other people than those they are applied to.

People are dealt into ten folds. A pair whose people are in folds i and j is decided at the threshold that fits the pairs
of people of all other folds: so every pair is decided once, and neither of its people had a say in how.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.quality.lfw import PairList
from tests.quality.metrics import Distances, best_accuracy

FOLDS = 10
SEED = 1

#: Distances and whether each is of one person, to a threshold; None where there are too few.
Fit = Callable[[np.ndarray, np.ndarray], float | None]


@dataclass(frozen=True)
class HeldOut:
    """How pairs fared at thresholds from other people.

    Attributes:
        lowest, highest: of the thresholds.
        accuracy: share of pairs decided rightly.
        fmr, fnmr: over all pairs.
        fnmr_of_folds: lowest and highest of the folds'.
    """

    lowest: float
    highest: float
    accuracy: float
    fmr: float
    fnmr: float
    fnmr_of_folds: tuple[float, float]


def fit_fmr(target: float) -> Fit:
    """The threshold of that FMR."""
    return lambda values, same: Distances.of(values, same).at_fmr(target).threshold


def fit_accuracy(values: np.ndarray, same: np.ndarray) -> float:
    """The threshold at which most pairs are decided rightly."""
    return best_accuracy(values, same)[1]


def held_out(values: np.ndarray, pairs: PairList, fit: Fit) -> HeldOut | None:
    """Decides every pair; None where there are too few people or pairs to fit a threshold on.

    Args:
        values: float64 (n,) distances of the pairs.
    """
    folds = deal(pairs)
    thresholds = thresholds_of_others(values, pairs, folds, fit)
    if thresholds is None:
        return None
    accepted = values <= thresholds
    own = folds[pairs.left]
    refused = [1 - accepted[pairs.same & (own == fold)].mean() for fold in np.unique(own[pairs.same])]
    return HeldOut(
        float(thresholds.min()),
        float(thresholds.max()),
        float((accepted == pairs.same).mean()),
        float(accepted[~pairs.same].mean()),
        float(1 - accepted[pairs.same].mean()),
        (float(min(refused)), float(max(refused))),
    )


def thresholds_of_others(values: np.ndarray, pairs: PairList, folds: np.ndarray, fit: Fit) -> np.ndarray | None:
    """float64 (n,): for each pair the threshold that fits the pairs of all folds that its people are not in."""
    left, right = folds[pairs.left], folds[pairs.right]
    thresholds = np.full(len(values), np.nan)
    for one, other in itertools.combinations_with_replacement(range(FOLDS), 2):
        held = ((left == one) & (right == other)) | ((left == other) & (right == one))
        known = (left != one) & (left != other) & (right != one) & (right != other)
        threshold = fit(values[known], pairs.same[known]) if _has_both(pairs.same[known]) else None
        if threshold is None:
            return None
        thresholds[held] = threshold
    return thresholds


def deal(pairs: PairList) -> np.ndarray:
    """The fold of each photo: that of the person whose folder it lies in."""
    people, person = np.unique([path.parent.name for path in pairs.photos], return_inverse=True)
    folds = np.random.default_rng(SEED).permutation(len(people)) % FOLDS
    return folds[person]


def _has_both(same: np.ndarray) -> bool:
    return bool(same.any()) and not same.all()
