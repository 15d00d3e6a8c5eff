"""Which liveness model is meant, and loading it when it is first needed."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from services.common.errors import ModelUnavailable
from services.common.faces import Box
from services.common.models import FinishedModel, Models, Wanted
from services.common.onnx import ORT_ERRORS
from services.liveness import face_classifier, ops
from services.liveness.minifasnet import THRESHOLD, Liveness, MiniFasNet
from services.liveness.turning import check_upright

#: The model workshop's name of the model that is meant by any MODEL_NAME but a Keras file's.
MINIFASNET = "MiniFASNet"


class LivenessModelUnavailable(ModelUnavailable):
    """The liveness model cannot be loaded; the message says why and what helps."""

    reason = "LIVENESS_MODEL_UNAVAILABLE"


class LivenessModel(Protocol):
    """Judges faces; see services.liveness.minifasnet.MiniFasNet for the terms.

    Attributes:
        least_face: pixels that the shorter side of a face keeps where its photo is decoded at a fraction of its size.
    """

    name: str
    version: str
    threshold: float
    least_face: int

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

    @property
    def is_keras(self) -> bool:
        """Whether a model like the original's is meant."""
        return self.name.lower().endswith(".h5")


def check_photo(
    model: LivenessModel, data: bytes, boxes: Sequence[Box], quarter_turns: Sequence[int] = ()
) -> list[Liveness]:
    """Judges faces of a photo's file.

    The photo is decoded at a fraction of its size where its faces stay large enough for the model: the score depends a
    little on that size, so it is the same for every format and for a photo that was reduced before.

    Args:
        model: that judges.
        data: the photo's file.
        boxes: in the pixels of the upright photo, sides above 0.
        quarter_turns: by how many quarters each face is turned clockwise, 0 to 3; none where all are upright.

    Raises:
        InvalidImage, ImageTooLarge: see services.images.decode.decode.
    """
    photo = ops.decode_halved(data, min(min(box.width, box.height) for box in boxes) / model.least_face)
    scaled = [box.scaled(1 / photo.factor) for box in boxes]
    if not any(quarter_turns):
        return model.check(photo.pixels, scaled)
    return check_upright(model.check, photo.pixels, scaled, quarter_turns)


class LivenessModels:
    """The liveness model that the settings name now. Safe to call from several threads."""

    def __init__(
        self, settings: Callable[[], ModelSettings], models: Models, cache: Path, threshold: float | None = None
    ) -> None:
        """
        Args:
            settings: reads the settings; asked at every call.
            models: gives finished models.
            cache: where weights are kept that processes share.
            threshold: scores from here on are REAL, 0 to 1; None for the model's own.
        """
        self._settings = settings
        self._models = models
        self._cache = cache
        self._threshold = threshold
        self._lock = threading.Lock()
        self._loaded: tuple[ModelSettings, LivenessModel] | None = None

    def is_finished(self) -> bool:
        """Whether the model that is meant can be opened at once. Raises whatever reading the settings raises."""
        return self._models.find(_wanted(self._settings())) is not None

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
            loaded = self._load(settings)
        return loaded[1]

    def _load(self, settings: ModelSettings) -> tuple[ModelSettings, LivenessModel]:
        try:
            finished = self._models.get(_wanted(settings))
            with self._lock:
                if self._loaded is None or self._loaded[0] != settings:
                    self._loaded = (settings, _warmed(self._open(settings, finished)))
                return self._loaded
        except ModelUnavailable as error:
            advice = f" Or set MODEL_NAME={MINIFASNET}." if settings.is_keras else ""
            raise LivenessModelUnavailable(f"{error}{advice}") from error

    def _open(self, settings: ModelSettings, finished: FinishedModel) -> LivenessModel:
        if settings.is_keras:
            own = face_classifier.THRESHOLD if self._threshold is None else self._threshold
            return face_classifier.FaceClassifier.load(finished, self._cache, own)
        return MiniFasNet.load(finished, THRESHOLD if self._threshold is None else self._threshold)


def _wanted(settings: ModelSettings) -> Wanted:
    return Wanted(settings.name if settings.is_keras else MINIFASNET, settings.path, settings.url)


def _warmed(model: LivenessModel) -> LivenessModel:
    """The model, run once: the first request is then no slower than others, and a broken network is found here."""
    try:
        model.check(np.zeros((320, 320, 3), np.uint8), [Box(100, 100, 120, 120)])
    except ORT_ERRORS as error:
        raise LivenessModelUnavailable(f"{model.name} cannot be run: {error}") from error
    return model
