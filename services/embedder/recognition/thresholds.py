"""Up to which distance two templates are taken for one person's, by the false match rate that this stands for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.embedder.matching import Metric

#: False match rates (FMR: share of pairs of different people that match) for which models are measured.
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
#: The rate in use unless a setting says otherwise, and that of a model which would refuse more than so many genuine pairs
#: there.
USUAL_FMR = 1e-4
LAXER_FMR = 1e-3
MOST_REFUSED = 0.1
#: Rates that can be asked for. What lies below the last of RATES was not measured: it is reckoned by going on in a straight
#: line, the distance over the rate's logarithm, which asks for more than the curves, that flatten there, would.
LOWEST_FMR = 1e-7
HIGHEST_FMR = 1e-1


@dataclass(frozen=True)
class Threshold:
    """Distances up to `distance` match.

    Attributes:
        fmr: share of pairs of different people that then match; None where nobody measured.
        fnmr: share of pairs of one person that then do not; None likewise.
    """

    distance: float
    fmr: float | None = None
    fnmr: float | None = None


class Thresholds(Protocol):
    """The thresholds of a model."""

    @property
    def source(self) -> str:
        """Who found them, on what."""

    def at(self, metric: Metric, fmr: float | None = None) -> Threshold:
        """For a rate from LOWEST_FMR to HIGHEST_FMR; None: the one that the model is used at."""

    def fmr_at(self, metric: Metric, distance: float) -> float | None:
        """The rate that a distance stands for as a threshold, LOWEST_FMR to 1; None where nobody measured."""


@dataclass(frozen=True)
class Fixed:
    """Thresholds of which nobody measured how often they err.

    Attributes:
        cosine, euclidean, euclidean_l2: by metric, see Metric.
    """

    cosine: float
    euclidean: float
    euclidean_l2: float
    source: str

    def at(self, metric: Metric, fmr: float | None = None) -> Threshold:
        return Threshold(float(getattr(self, metric.value)))

    def fmr_at(self, metric: Metric, distance: float) -> float | None:
        return None


@dataclass(frozen=True)
class Curve:
    """Measured thresholds, for each of RATES.

    Attributes:
        cosine, euclidean: distances, falling; those of euclidean_l2 follow from cosine's, sqrt(2 d).
        fnmr: share of genuine pairs refused at those of cosine, rising.
    """

    cosine: tuple[float, ...]
    euclidean: tuple[float, ...]
    fnmr: tuple[float, ...]
    source: str

    @property
    def usual_fmr(self) -> float:
        """The rate that the model is used at."""
        return USUAL_FMR if self.fnmr[RATES.index(USUAL_FMR)] <= MOST_REFUSED else LAXER_FMR

    def at(self, metric: Metric, fmr: float | None = None) -> Threshold:
        rate = fmr or self.usual_fmr
        distance = _line(math.log10(rate), _LOGS, self._distances(metric))
        fnmr = float(np.interp(math.log10(rate), _LOGS, self.fnmr[::-1]))
        return Threshold(max(distance, _SMALLEST), rate, fnmr)

    def fmr_at(self, metric: Metric, distance: float) -> float | None:
        log = _line(distance, self._distances(metric), _LOGS)
        return float(min(1.0, max(LOWEST_FMR, 10.0 ** min(0.0, log))))

    def _distances(self, metric: Metric) -> Sequence[float]:
        """Rising, as _LOGS do."""
        if metric is Metric.EUCLIDEAN_L2:
            return [math.sqrt(2 * distance) for distance in reversed(self.cosine)]
        return (self.euclidean if metric is Metric.EUCLIDEAN else self.cosine)[::-1]


#: RATES' logarithms, rising.
_LOGS = [math.log10(rate) for rate in reversed(RATES)]
#: No threshold is less: only equal templates are nearer.
_SMALLEST = 1e-6


def _line(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Linear between the points, and on in the direction of the first two and the last two beyond them; xs rise."""
    left = min(max(int(np.searchsorted(xs, x)) - 1, 0), len(xs) - 2)
    slope = (ys[left + 1] - ys[left]) / (xs[left + 1] - xs[left])
    return float(ys[left] + slope * (x - xs[left]))
