"""The recognisers that are in use, loaded when first needed."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.common import call
from services.common.errors import InvalidRequest, ModelUnavailable
from services.common.faces import FaceCrop
from services.embedder.matching import Criterion, Metric
from services.embedder.recognition.rates import Rates
from services.embedder.recognition.thresholds import Threshold, Thresholds


class Recogniser(Protocol):
    """A network that is ready to embed faces. Safe to use from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed(self, crops: Sequence[FaceCrop]) -> np.ndarray:
        """float32 (n, dimension), one raw template a crop."""


class Spec(Protocol):
    """What is known of a model without loading it (catalogue.ModelSpec)."""

    @property
    def name(self) -> str: ...

    @property
    def thresholds(self) -> Thresholds: ...


@dataclass(frozen=True)
class Strictness:
    """Which threshold is applied rather than the usual one; at most one of them.

    Attributes:
        threshold: a distance, above 0.
        max_fmr: a false match rate, LOWEST_FMR to HIGHEST_FMR (thresholds.py).
    """

    threshold: float | None = None
    max_fmr: float | None = None


#: The usual one.
USUAL = Strictness()


class Recognisers:
    """Finds models by name and loads each once. Safe to use from several threads: loading one holds up no other."""

    def __init__(self, find: Callable[[str], Spec], load: Callable[[str], Recogniser], rates: Rates = Rates()):  # noqa: B008
        """
        Args:
            find: the specification of a model; raises UnknownModel.
            load: makes the model of a canonical name ready; raises ModelUnavailable, and is then asked again next time.
        """
        self._find = find
        self._load = load
        self._rates = rates
        self._loaded: dict[str, Recogniser] = {}
        self._loading: dict[str, threading.Lock] = {}

    def get(self, name: str) -> Recogniser:
        """Raises UnknownModel, or ModelUnavailable where it cannot be had, or not within the present request's time."""
        spec = self._find(name)
        lock = self._loading.setdefault(spec.name, threading.Lock())
        if not lock.acquire(timeout=call.seconds_left()):
            raise ModelUnavailable(f"the model {spec.name} is being loaded; try again in a while")
        try:
            if spec.name not in self._loaded:
                self._loaded[spec.name] = self._load(spec.name)
            return self._loaded[spec.name]
        finally:
            lock.release()

    def criterion(self, name: str, metric: Metric, wanted: Strictness = USUAL) -> Criterion:
        """When two templates of the model match.

        Raises:
            UnknownModel.
            InvalidRequest: a rate is wanted of a model that nobody measured.
        """
        thresholds = self._find(name).thresholds
        usual = thresholds.at(metric, self._rates.fmr)
        return _criterion(name, metric, _wanted(thresholds, metric, wanted) or usual, usual)

    def search_criterion(self, name: str, metric: Metric, people: int, wanted: Strictness = USUAL) -> Criterion:
        """The same in a search among so many people."""
        thresholds = self._find(name).thresholds
        usual = thresholds.at(metric, self._rates.fmr)
        if found := _wanted(thresholds, metric, wanted):
            return _criterion(name, metric, found, usual)
        if usual.fmr is None:
            return _criterion(name, metric, usual, usual)
        return _criterion(name, metric, thresholds.at(metric, self._rates.of_search(usual.fmr, people)), usual)

    def fmr_at(self, name: str, metric: Metric, distance: float) -> float | None:
        """See Thresholds.fmr_at; raises UnknownModel."""
        return self._find(name).thresholds.fmr_at(metric, distance)

    def source(self, name: str) -> str:
        """Who fitted the model's thresholds; raises UnknownModel."""
        return self._find(name).thresholds.source


def _criterion(name: str, metric: Metric, applied: Threshold, usual: Threshold) -> Criterion:
    return Criterion(name, metric, applied.distance, applied.fmr, applied.fnmr, usual.distance)


def _wanted(thresholds: Thresholds, metric: Metric, wanted: Strictness) -> Threshold | None:
    if wanted.threshold is not None:
        return Threshold(wanted.threshold, thresholds.fmr_at(metric, wanted.threshold))
    if wanted.max_fmr is None:
        return None
    found = thresholds.at(metric, wanted.max_fmr)
    if found.fmr is None:
        raise InvalidRequest("max_fmr: nobody has measured which threshold stands for it; give a threshold")
    return found
