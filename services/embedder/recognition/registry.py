"""The recognisers that are in use, loaded when first needed."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from services.common import call
from services.common.errors import ModelUnavailable
from services.common.faces import FaceCrop
from services.embedder.matching import Criterion, Metric
from services.embedder.recognition.catalogue import Thresholds


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

    @property
    def equal_error(self) -> float | None: ...


class Recognisers:
    """Finds models by name and loads each once. Safe to use from several threads: loading one holds up no other."""

    def __init__(self, find: Callable[[str], Spec], load: Callable[[str], Recogniser]):
        """
        Args:
            find: the specification of a model; raises UnknownModel.
            load: makes the model of a canonical name ready; raises ModelUnavailable, and is then asked again next time.
        """
        self._find = find
        self._load = load
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

    def criterion(self, name: str, metric: Metric) -> Criterion:
        """When two templates of the model match; raises UnknownModel."""
        spec = self._find(name)
        return Criterion(name, metric, float(getattr(spec.thresholds, metric.value)), spec.equal_error)

    def source(self, name: str) -> str:
        """Who fitted the model's thresholds; raises UnknownModel."""
        return self._find(name).thresholds.source
