"""Faces to templates: align, normalise, run the network."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from services.common.errors import ModelUnavailable
from services.common.faces import FaceCrop
from services.common.metrics import QueueMetrics
from services.common.models import FinishedModel, FinishedNetwork
from services.common.onnx import ORT_ERRORS, Session, open_shared_session
from services.common.workers import processors
from services.embedder.recognition.alignment import show
from services.embedder.recognition.batcher import Batcher, Limits
from services.embedder.recognition.catalogue import ModelSpec, Normalisation

#: Goes into every version: raise it when the same weights and numbers come to give other templates.
CODE_REVISION = 1
#: Faces a run. Measured on AVX-512: 8 cost a fifth less each than one; more save nothing and cost memory.
BATCH = 8
#: Faces waiting beyond which requests are refused: about a second's work of one core.
WAITING = 160


class OnnxRecogniser:
    """One network with its alignment and normalisation. Safe to call from several threads: their faces are batched.

    Attributes:
        name: the model's.
        version: identifies weights, alignment, normalisation and views: only templates of the same version
            may be compared.
        dimension: of its templates.
    """

    def __init__(
        self,
        spec: ModelSpec,
        session: Session,
        version: str,
        threads: int | None = None,
        metrics: QueueMetrics | None = None,
    ) -> None:
        """
        Args:
            session: takes float32 (n, h, w, 3) or (n, 3, h, w); n free or 1. Run in several threads at once.
            threads: batches worked on at once; as many as there are processors if not given.
            metrics: of the faces that wait.

        Raises:
            ModelUnavailable: the network takes no pictures.
        """
        self.name = spec.name
        self.version = version
        self.dimension = spec.dimension
        self._spec = spec
        self._views = spec.views
        self._session = session
        pixels = session.get_inputs()[0]
        if len(pixels.shape) != 4:
            raise ModelUnavailable(f"the network {spec.name} does not take pictures, but {pixels.shape}")
        self._input = pixels.name
        self._channels_first = pixels.shape[1] == 3
        batch = pixels.shape[0] if isinstance(pixels.shape[0], int) else BATCH
        self._faces: Batcher[np.ndarray, np.ndarray] = Batcher(
            self._run, Limits(threads or processors(), batch, WAITING), metrics
        )

    def embed(self, crops: Sequence[FaceCrop]) -> np.ndarray:
        """Templates of faces: float32 (n, dimension), as the network gives them.

        Raises:
            InvalidRequest: a crop or its landmarks are of no use.
            Overloaded, DeadlineExceeded: see Batcher.
        """
        shown = [show(crop, self._spec.alignment, view) for view in self._views for crop in crops]
        views = self.embed_aligned(shown).reshape(len(self._views), len(crops), self.dimension)
        templates: np.ndarray = views.mean(axis=0)
        if self._spec.unit_length:
            templates /= np.maximum(np.linalg.norm(templates, axis=1, keepdims=True), 1e-12)
        return templates

    def embed_aligned(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """What the network gives for faces aligned already: uint8 (height, width, 3) BGR each, of the network's size.

        Returns:
            float32 (n, dimension).

        Raises:
            Overloaded, DeadlineExceeded: see Batcher.
        """
        return np.stack(self._faces.run(faces)) if faces else np.zeros((0, self.dimension), np.float32)

    def warm_up(self) -> None:
        """Runs the network once, so that the first request is no slower than the others.

        Raises:
            ModelUnavailable: it does not take or give what its record says.
        """
        shape = (1, self._spec.alignment.height, self._spec.alignment.width, 3)
        try:
            (template,) = self._run(list(np.zeros(shape, np.uint8)))
        except ORT_ERRORS as error:
            raise ModelUnavailable(f"the network {self.name} cannot be run: {error}") from error
        if template.shape != (self.dimension,):
            raise ModelUnavailable(f"the network {self.name} gives {template.shape}, not {self.dimension} numbers")

    def _run(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs = normalise(np.stack(pictures), self._spec.normalisation)
        if self._channels_first:
            inputs = inputs.transpose(0, 3, 1, 2)
        return list(self._session.run(None, {self._input: np.ascontiguousarray(inputs)})[0])


def normalise(pictures: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """uint8 (n, h, w, 3) BGR to float32 (n, h, w, 3) in the network's channel order and range."""
    values = pictures[..., ::-1] if normalisation.order == "rgb" else pictures
    values = values.astype(np.float32)
    if normalisation.per_image:
        axes = (1, 2, 3)
        least = np.float32(1 / np.sqrt(values[0].size))  # a float64 would make float64 of all
        deviation = np.maximum(values.std(axis=axes, keepdims=True), least)
        values = (values - values.mean(axis=axes, keepdims=True)) / deviation
    if not any(normalisation.mean) and normalisation.scale == 1:
        return values
    normalised: np.ndarray = (values - np.array(normalisation.mean, np.float32)) * np.float32(normalisation.scale)
    return normalised


def load(
    spec: ModelSpec,
    model: FinishedModel,
    cache: Path,
    threads: int | None = None,
    queue: Callable[[str], QueueMetrics] | None = None,
) -> OnnxRecogniser:
    """A recogniser that has run once.

    Args:
        model: its network.
        cache: where weights are kept that processes share.
        threads: see OnnxRecogniser.
        queue: gives what is told of the faces that wait for a model, by its name.

    Raises:
        ModelUnavailable: the network cannot be opened, or is none of faces.
    """
    (network,) = model.networks
    file = model.path(network)
    version = _version(spec, model.networks[network])
    try:
        session = open_shared_session(file, model.networks[network].sha256, cache)
        recogniser = OnnxRecogniser(spec, session, version, threads, queue and queue(spec.name))
    except (*ORT_ERRORS, OSError) as error:
        raise ModelUnavailable(f"{file} cannot be loaded: {error}") from error
    recogniser.warm_up()
    return recogniser


def _version(spec: ModelSpec, network: FinishedNetwork) -> str:
    parts = [
        CODE_REVISION,
        network.maker,
        network.weights_sha256,
        asdict(spec.alignment),
        asdict(spec.normalisation),
        spec.unit_length,
        [asdict(view) for view in spec.views],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
