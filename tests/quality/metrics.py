"""Error rates of verification, from distances of pairs; terms as in ISO/IEC 19795-1.

A pair is accepted at distances up to the threshold. FMR: share of impostor pairs accepted; FNMR: share of genuine pairs
refused. A distance of infinity is a pair that could not be compared, for want of a face: it is refused.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OperatingPoint:
    """The largest threshold at which the FMR is at most `target`; threshold and FNMR are None where there are too few
    impostor pairs to tell (fewer than 1 / target)."""

    target: float
    threshold: float | None
    fmr: float | None
    fnmr: float | None


@dataclass(frozen=True)
class Distances:
    """Distances of genuine pairs and of impostor pairs, float64, sorted."""

    genuine: np.ndarray
    impostor: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, same: np.ndarray) -> "Distances":
        """From the distances of all pairs and whether each is of one person."""
        return cls(np.sort(values[same]), np.sort(values[~same]))

    def fmr(self, thresholds: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.impostor, thresholds, side="right") / len(self.impostor)

    def fnmr(self, thresholds: np.ndarray) -> np.ndarray:
        return 1 - np.searchsorted(self.genuine, thresholds, side="right") / len(self.genuine)

    def at_fmr(self, target: float) -> OperatingPoint:
        allowed = int(target * len(self.impostor) + 1e-9)
        if allowed < 1:
            return OperatingPoint(target, None, None, None)
        first_refused = self.impostor[allowed] if allowed < len(self.impostor) else np.inf
        threshold = np.nextafter(first_refused, -np.inf)
        return OperatingPoint(target, float(threshold), float(self.fmr(threshold)), float(self.fnmr(threshold)))

    def curve(self, points: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(thresholds, fmr, fnmr) at `points` distances spread over all that occur."""
        everything = np.concatenate([self.genuine, self.impostor])
        finite = np.sort(everything[np.isfinite(everything)])
        picks = np.unique(np.linspace(0, len(finite) - 1, points).astype(int))
        low = np.unique(np.concatenate([finite[picks], self.impostor[:100], self.genuine[-200:]]))
        thresholds = low[np.isfinite(low)]
        return thresholds, self.fmr(thresholds), self.fnmr(thresholds)

    def equal_error(self) -> tuple[float, float]:
        """(equal error rate, its threshold): the mean of FMR and FNMR where they differ least."""
        thresholds = np.unique(np.concatenate([self.genuine, self.impostor]))
        thresholds = thresholds[np.isfinite(thresholds)]
        fmr, fnmr = self.fmr(thresholds), self.fnmr(thresholds)
        at = int(np.argmin(np.abs(fmr - fnmr)))
        return float((fmr[at] + fnmr[at]) / 2), float(thresholds[at])


def best_accuracy(values: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """(share of pairs decided rightly, threshold) at the threshold that is best on these very pairs."""
    order = np.argsort(values, kind="stable")
    ordered, right = values[order], same[order]
    decided = np.cumsum(right) + (~right).sum() - np.cumsum(~right)  # accepting up to and including each
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True) & np.isfinite(ordered)
    at = int(np.argmax(np.where(last_of_equals, decided, -1)))
    return float(decided[at] / len(values)), float(ordered[at])


def folded_accuracy(values: np.ndarray, same: np.ndarray, folds: np.ndarray) -> tuple[float, float]:
    """(mean accuracy, its standard error), each fold decided at the threshold best on the others (LFW View 2)."""
    scores = []
    for fold in np.unique(folds):
        held = folds == fold
        _, threshold = best_accuracy(values[~held], same[~held])
        scores.append(((values[held] <= threshold) == same[held]).mean())
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(len(scores)))
