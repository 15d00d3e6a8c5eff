"""Which liveness model is meant, and loading it when it is first needed."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from deploy.models.sources import MINIFASNET_URL, keras_file, minifasnet_files
from deploy.models.weights import WeightStore
from services.common.errors import ModelUnavailable
from services.common.faces import Box
from services.common.images import decode_halved
from services.common.onnx import ORT_ERRORS
from services.liveness import face_classifier as keras_h5
from services.liveness.minifasnet import THRESHOLD, Liveness, MiniFasNet


class LivenessModelUnavailable(ModelUnavailable):
    """The liveness model cannot be loaded; the message says why and what helps."""

    reason = "LIVENESS_MODEL_UNAVAILABLE"


class LivenessModel(Protocol):
    """Judges faces; see services.liveness.minifasnet.MiniFasNet for the terms.

    Attributes:
        enough: pixels that the shorter side of a face keeps where its photo is decoded at a fraction of its size.
    """

    name: str
    version: str
    threshold: float
    enough: int

    def check(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Liveness]: ...


@dataclass(frozen=True)
class ModelSettings:
    """What `.env` says of the liveness model.

    Attributes:
        path: MODEL_PATH, the folder that weight files lie in or are fetched to.
        url: MODEL_URL, for MiniFASNet the address of the folder that holds its two files.
        name: MODEL_NAME; one that ends in ".h5" means the original's Keras model, any other MiniFASNet.
    """

    path: Path
    url: str
    name: str


def check_photo(model: LivenessModel, data: bytes, boxes: Sequence[Box]) -> list[Liveness]:
    """Judges faces of a photo's file; `boxes` in the pixels of the upright photo, sides above 0.

    The photo is decoded at a fraction of its size where its faces stay large enough for the model: the score depends a
    little on that size, so it is the same for every format and for a photo that was reduced before.

    Raises:
        InvalidImage, ImageTooLarge: see services.common.images.decode.
    """
    photo = decode_halved(data, min(min(box.width, box.height) for box in boxes) / model.enough)
    return model.check(photo.pixels, [box.scaled(1 / photo.factor) for box in boxes])


class LivenessModels:
    """The liveness model that the settings name now. Safe to call from several threads."""

    def __init__(
        self,
        settings: Callable[[], ModelSettings],
        mirror: str | None = None,
        threshold: float | None = None,
        cache: Path | None = None,
    ) -> None:
        """
        Args:
            settings: reads the settings; asked at every call.
            mirror: RECO_MIRROR, see deploy.models.weights.WeightStore.
            threshold: scores from here on are REAL, 0 to 1; None for the model's own.
            cache: see native.load.
        """
        self._settings = settings
        self._mirror = mirror
        self._threshold = threshold
        self._cache = cache
        self._lock = threading.Lock()
        self._loaded: tuple[ModelSettings, LivenessModel] | None = None
        self._store: tuple[Path, WeightStore] | None = None

    def current(self) -> LivenessModel:
        """The model, loaded if it is not or if the settings are others than before. The first call can take long.

        Raises:
            LivenessModelUnavailable: it cannot be loaded. A failed download is tried again after half a minute; a
                file that appears, or other settings, are taken up at once.
            Whatever reading the settings raises.
        """
        settings = self._settings()
        loaded = self._loaded
        if loaded is None or loaded[0] != settings:
            with self._lock:
                loaded = self._loaded
                if loaded is None or loaded[0] != settings:
                    loaded = self._loaded = (settings, _warmed(self._load(settings)))
        return loaded[1]

    def _load(self, settings: ModelSettings) -> LivenessModel:
        if settings.name.lower().endswith(".h5"):
            return self._load_keras(settings)
        threshold = THRESHOLD if self._threshold is None else self._threshold
        try:
            store = self._store_in(settings.path)
            files = {scale: store.get(file) for scale, file in minifasnet_files(settings.url).items()}
            return MiniFasNet.load(files, threshold, self._cache)
        except ModelUnavailable as error:
            raise LivenessModelUnavailable(str(error)) from error

    def _load_keras(self, settings: ModelSettings) -> LivenessModel:
        threshold = keras_h5.THRESHOLD if self._threshold is None else self._threshold
        try:
            file = self._store_in(settings.path).get(keras_file(settings.name, settings.url))
            return keras_h5.KerasLiveness.load(file, settings.path / "converted", threshold)
        except ModelUnavailable as error:
            advice = f"Or set MODEL_NAME=MiniFASNet and MODEL_URL={MINIFASNET_URL}."
            raise LivenessModelUnavailable(f"{error} {advice}") from error

    def _store_in(self, folder: Path) -> WeightStore:
        """The folder's store; kept, because it remembers for a while what it tried in vain."""
        if self._store is None or self._store[0] != folder:
            self._store = (folder, WeightStore(folder, self._mirror))
        return self._store[1]


def _warmed(model: LivenessModel) -> LivenessModel:
    """The model, run once: the first request is then no slower than others, and a broken network is found here."""
    try:
        model.check(np.zeros((320, 320, 3), np.uint8), [Box(100, 100, 120, 120)])
    except ORT_ERRORS as error:
        raise LivenessModelUnavailable(f"{model.name} cannot be run: {error}") from error
    return model
