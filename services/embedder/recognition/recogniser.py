"""Faces to templates: align, normalise, run the network."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from deploy.models.formats import dlib_dat
from deploy.models.keras import convert as keras_onnx
from deploy.models.networks import dlib as dlib_network
from deploy.models.weights import WeightStore
from services.common.errors import ModelUnavailable
from services.common.faces import FaceCrop
from services.common.metrics import QueueMetrics
from services.common.onnx import ORT_ERRORS, Session, open_shared_session
from services.common.workers import processors
from services.embedder.recognition.alignment import View, show
from services.embedder.recognition.batcher import Batcher, Limits
from services.embedder.recognition.catalogue import ModelSpec, Normalisation

#: Goes into every version: raise it when the same weights and numbers come to give other templates.
CODE_REVISION = 1
#: Faces a run. Measured on AVX-512: 8 cost a fifth less each than one; more save nothing and cost memory.
BATCH = 8
#: Faces waiting beyond which requests are refused: about a second's work of one core.
WAITING = 160

KERAS_SUFFIXES = (".h5", ".zip")


class OnnxSession(Session, Protocol):
    """A network that tells what it takes, as ONNX Runtime's do."""

    def get_inputs(self) -> list: ...


class Recogniser:
    """One network with its alignment and normalisation. Safe to call from several threads: their faces are batched.

    Attributes:
        name: the model's.
        version: identifies weights, alignment, normalisation and mirror setting: only templates of the same version
            may be compared.
        dimension: of its templates.
    """

    def __init__(
        self,
        spec: ModelSpec,
        session: OnnxSession,
        version: str,
        mirror: bool = True,
        threads: int | None = None,
        metrics: QueueMetrics | None = None,
    ) -> None:
        """
        Args:
            session: takes float32 (n, h, w, 3) or (n, 3, h, w); n free or 1. Run in several threads at once.
            mirror: a template is the mean over the record's views (Dlib: the face and its mirror image): better, at
                the cost of a run for each. Else the face is looked at once.
            threads: batches worked on at once; as many as there are processors if not given.
            metrics: of the faces that wait.

        Raises:
            ModelUnavailable: the network takes no pictures.
        """
        self.name = spec.name
        self.version = version
        self.dimension = spec.dimension
        self._spec = spec
        self._views = spec.views if mirror else (View(),)
        self._session = session
        pixels = session.get_inputs()[0]
        if len(pixels.shape) != 4:
            raise ModelUnavailable(f"the network {spec.name} does not take pictures, but {pixels.shape}")
        self._input = pixels.name
        self._channels_first = pixels.shape[1] == 3
        batch = pixels.shape[0] if isinstance(pixels.shape[0], int) else BATCH
        self._faces = Batcher(self._run, Limits(threads or processors(), batch, WAITING), metrics)

    def embed(self, crops: Sequence[FaceCrop]) -> np.ndarray:
        """Templates of faces: float32 (n, dimension), as the network gives them.

        Raises:
            InvalidRequest: a crop or its landmarks are of no use.
            Overloaded, DeadlineExceeded: see Batcher.
        """
        shown = [show(crop, self._spec.alignment, view) for view in self._views for crop in crops]
        templates = self.embed_aligned(shown).reshape(len(self._views), len(crops), self.dimension).mean(axis=0)
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
            templates = self._run(np.zeros(shape, np.uint8))
        except ORT_ERRORS as error:
            raise ModelUnavailable(f"the network {self.name} cannot be run: {error}") from error
        if templates.shape != (1, self.dimension):
            raise ModelUnavailable(f"the network {self.name} gives {templates.shape[1:]}, not {self.dimension} numbers")

    def _run(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        inputs = normalise(np.stack(pictures), self._spec.normalisation)
        if self._channels_first:
            inputs = inputs.transpose(0, 3, 1, 2)
        return self._session.run(None, {self._input: np.ascontiguousarray(inputs)})[0]


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
    return (values - np.float32(normalisation.mean)) * np.float32(normalisation.scale)


def load(
    spec: ModelSpec,
    store: WeightStore,
    cache: Path,
    threads: int | None = None,
    mirror: bool = True,
    queue: Callable[[str], QueueMetrics] | None = None,
) -> Recogniser:
    """A recogniser that has run once. Fetches its weights if they are not here yet.

    Args:
        cache: where networks made of other formats are kept, and weights that processes share.
        threads, mirror: see Recogniser.
        queue: gives what is told of the faces that wait for a model, by its name.

    Raises:
        ModelUnavailable: the weights cannot be had, or are broken.
    """
    weights = _find_weights(spec, store)
    try:
        version = _version(spec, weights, spec.views if mirror else (View(),))
        session = _open(spec, weights, cache)
        recogniser = Recogniser(spec, session, version, mirror, threads, queue and queue(spec.name))
    except (*ORT_ERRORS, OSError) as error:
        raise ModelUnavailable(f"{weights} cannot be loaded: {error}") from error
    recogniser.warm_up()
    return recogniser


def _find_weights(spec: ModelSpec, store: WeightStore) -> Path:
    """Dlib's file comes with a package that is installed as a rule; all others are fetched.

    Keras files are taken from the folder and the mirror, not from the web: converting them needs TensorFlow.
    """
    here = dlib_dat.find_package_file(spec.weights.name)
    for weight in (spec.weights, *spec.keras):
        here = here or store.find(weight)
    if here:
        return here
    try:
        return store.get(spec.weights)
    except ModelUnavailable as error:
        for weight in spec.keras:
            with suppress(ModelUnavailable):
                return store.get(weight)
        alternative = f" {spec.keras[0].name}, its Keras file, does as well." if spec.keras else ""
        raise ModelUnavailable(f"{error}{alternative}") from error


def _open(spec: ModelSpec, weights: Path, cache: Path) -> OnnxSession:
    if weights.suffix == ".dat":
        return dlib_network.DlibNetwork.load(weights, cache)
    if weights.suffix in KERAS_SUFFIXES:
        weights = keras_onnx.cached_onnx(weights, cache, spec.name)
    return open_shared_session(weights, cache)


def _revision(weights: Path) -> int:
    """That of the code which makes a network of such a file."""
    if weights.suffix == ".dat":
        return dlib_network.REVISION
    return keras_onnx.EXPORT_REVISION if weights.suffix in KERAS_SUFFIXES else 0


def _version(spec: ModelSpec, weights: Path, views: Sequence[View]) -> str:
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    parts = [
        CODE_REVISION,
        _revision(weights),
        digest,
        asdict(spec.alignment),
        asdict(spec.normalisation),
        spec.unit_length,
        [asdict(view) for view in views],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
