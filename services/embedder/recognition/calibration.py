"""Thresholds of a site's own: fitted on the faces of the people there, whom a network may confuse more often or less.

How often strangers match below what a site's pairs can tell is reckoned from how the model's shipped thresholds fall: a
site of 20 people has 190 pairs of different people, which tell nothing of one match in ten thousand.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from services.embedder.matching import Metric
from services.embedder.recognition.catalogue import ModelSpec
from services.embedder.recognition.thresholds import RATES, Curve

#: A rate is measured where so many pairs of photos and of people (each with each) are expected to match at it.
LEAST_MATCHES = 10
LEAST_PEOPLE = 1


class TooLittle(ValueError):
    """There are too few people or photos to fit thresholds on."""


@dataclass(frozen=True)
class Scores:
    """Distances by one metric, float64.

    Attributes:
        genuine: of pairs of photos of one person.
        impostor: of pairs of photos of two people.
    """

    genuine: np.ndarray
    impostor: np.ndarray

    def quantile(self, fmr: float) -> float:
        """The largest threshold at which at most this share of impostor pairs match."""
        ordered = np.sort(self.impostor)
        return float(np.nextafter(ordered[int(fmr * len(ordered))], -np.inf))


@dataclass(frozen=True)
class Calibration:
    """What was fitted.

    Attributes:
        curve: thresholds for all RATES.
        lowest_measured: the lowest rate that the pairs themselves tell; those below follow the shipped thresholds.
    """

    curve: Curve
    lowest_measured: float


def fit(shipped: Curve, cosine: Scores, euclidean: Scores, people: int, source: str) -> Calibration:
    """Thresholds for a site.

    Rates that the pairs tell are measured. Below them thresholds fall by the same shares as the shipped ones, and none is
    higher than those: what was not measured is never made laxer.

    Args:
        people: how many different ones the pairs are of.
        source: says on what.

    Raises:
        TooLittle.
    """
    pairs_of_people = people * (people - 1) // 2
    measured = [
        rate
        for rate in RATES
        if rate * len(cosine.impostor) >= LEAST_MATCHES and rate * pairs_of_people >= LEAST_PEOPLE
    ]
    if not measured:
        raise TooLittle(f"{people} people and {len(cosine.impostor)} pairs of different ones: 5 and 100 are the least")
    fitted = {
        metric: _fitted(getattr(shipped, metric), scores, measured)
        for metric, scores in ((Metric.COSINE, cosine), (Metric.EUCLIDEAN, euclidean))
    }
    distances = fitted[Metric.COSINE]
    genuine = np.sort(cosine.genuine)
    fnmr = (
        tuple(float(1 - np.searchsorted(genuine, one, side="right") / len(genuine)) for one in distances)
        if len(genuine)
        else shipped.fnmr
    )
    return Calibration(Curve(distances, fitted[Metric.EUCLIDEAN], fnmr, source), measured[-1])


def _fitted(shipped: tuple[float, ...], scores: Scores, measured: list[float]) -> tuple[float, ...]:
    distances = [scores.quantile(rate) for rate in measured]
    share = distances[-1] / shipped[len(measured) - 1]
    distances += [min(share * one, one) for one in shipped[len(measured) :]]
    for number in range(1, len(distances)):  # a curve falls, though two rates may have one threshold
        distances[number] = min(distances[number], distances[number - 1] * (1 - 1e-6))
    return tuple(distances)


def write(file: Path, curves: Mapping[str, Curve]) -> None:
    """Keeps thresholds by model name, beside those of other models that the file has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(file.read_text()) if file.exists() else {}
    text = json.dumps(kept | {name: asdict(curve) for name, curve in curves.items()}, indent=2)
    part = file.with_name(file.name + ".part")
    part.write_text(text + "\n")
    part.replace(file)


def read(file: Path) -> dict[str, Curve]:
    """Thresholds by model name; none where there is no file.

    Raises:
        ValueError: it is no such file.
    """
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text())
        curves = {name: _curve(one) for name, one in found.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as err:
        raise ValueError(f"{file} holds no thresholds; `make calibrate` writes it: {err}") from err
    for name, curve in curves.items():
        if not all(_falls(one) for one in (curve.cosine, curve.euclidean)) or len(curve.fnmr) != len(RATES):
            raise ValueError(f"{file}: the thresholds of {name} must fall from one of {len(RATES)} rates to the next")
    return curves


def _curve(found: Mapping[str, Any]) -> Curve:
    distances = {key: tuple(map(float, found[key])) for key in ("cosine", "euclidean", "fnmr")}
    return Curve(**distances, source=str(found["source"]))


def _falls(distances: tuple[float, ...]) -> bool:
    return len(distances) == len(RATES) and all(
        more > less > 0 for more, less in zip(distances, distances[1:], strict=False)
    )


def calibrated(find: Callable[[str], ModelSpec], curves: Mapping[str, Curve]) -> Callable[[str], ModelSpec]:
    """Finds models as `find` does, with a site's thresholds where it has some."""

    def found(name: str) -> ModelSpec:
        spec = find(name)
        curve = curves.get(spec.name)
        return replace(spec, thresholds=curve) if curve else spec

    return found
