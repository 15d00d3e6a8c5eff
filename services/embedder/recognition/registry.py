"""The recognition models that are in use, loaded when first needed."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from services.common.faces import FaceCrop
from services.embedder.matching import Criterion, Metric


class Recogniser(Protocol):
    """A network that is ready to embed faces. Safe to use from several threads."""

    name: str
    version: str
    dimension: int

    def embed(self, crops: Sequence[FaceCrop]) -> np.ndarray:
        """float32 (n, dimension), one raw template a crop."""


class Spec(Protocol):
    """What is known of a model without loading it (models.ModelSpec)."""

    name: str
    thresholds: Any  # one attribute a metric, by the metric's value
    equal_error: float | None


class Recognisers:
    """Finds models by name and loads each once. Safe to use from several threads: loading one holds up no other."""

    def __init__(self, find: Callable[[str], Spec], load: Callable[[Any], Recogniser]):
        """
        Args:
            find: the specification of a model; raises UnknownModel.
            load: makes a model ready; raises ModelUnavailable, and is then asked again next time.
        """
        self._find = find
        self._load = load
        self._loaded: dict[str, Recogniser] = {}
        self._loading: dict[str, threading.Lock] = {}

    def get(self, name: str) -> Recogniser:
        """Raises UnknownModel, or ModelUnavailable where its weights cannot be had."""
        spec = self._find(name)
        with self._loading.setdefault(spec.name, threading.Lock()):
            if spec.name not in self._loaded:
                self._loaded[spec.name] = self._load(spec)
            return self._loaded[spec.name]

    def criterion(self, name: str, metric: Metric) -> Criterion:
        """When two templates of the model match; raises UnknownModel."""
        spec = self._find(name)
        return Criterion(name, metric, float(getattr(spec.thresholds, metric.value)), spec.equal_error)
