"""Which liveness model is meant, and loading it when it is first needed."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from services.common.errors import ModelUnavailable
from services.common.faces import Box, View
from services.common.models import FinishedModel, Models, Wanted
from services.common.onnx import ORT_ERRORS
from services.liveness import face_classifier, ops
from services.liveness.fusion import FACEPLUGIN_THRESHOLD, FacePluginLiveness, FusedModels
from services.liveness.fusion import THRESHOLD as FUSED_THRESHOLD
from services.liveness.minifasnet import THRESHOLD, Liveness, MiniFasNet, Scorer, judge
from services.liveness.turning import check_upright

#: The model workshop's names of the models that are meant by any MODEL_NAME but a Keras file's, or one of them.
MINIFASNET, FACEPLUGIN = "MiniFASNet", "FacePluginLiveness"

log = logging.getLogger("reco")


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
        name: MODEL_NAME; one that ends in ".h5" means the original's Keras model, `MiniFASNet` and `FacePluginLiveness`
            mean those, and any other name both.
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


@dataclass(frozen=True)
class ShownFaces:
    """Faces without their photo.

    Attributes:
        width, height: of the photo, pixels.
        boxes: in those.
        views: in which each face is shown.
        pictures: of each view uint8 (number of boxes, side, side, 3), BGR.
    """

    width: int
    height: int
    boxes: Sequence[Box]
    views: tuple[View, ...]
    pictures: Sequence[np.ndarray]


def views_of(model: LivenessModel) -> tuple[View, ...]:
    """The views of a face that the model can do with; none where it needs the photo."""
    return model.views if isinstance(model, Scorer) else ()


def check_shown(model: LivenessModel, faces: ShownFaces) -> list[Liveness]:
    """Judges faces; nothing where the model wants other views of them."""
    if not isinstance(model, Scorer) or model.views != faces.views:
        return []
    size = faces.height, faces.width
    return judge(model, size, faces.boxes, lambda places: [shown[list(places)] for shown in faces.pictures])


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
        self._loaded: _Loaded | None = None

    def is_finished(self) -> bool:
        """Whether all that is meant can be opened at once. Raises whatever reading the settings raises."""
        return all(self._models.find(wanted) is not None for wanted in _wanted(self._settings()))

    def current(self) -> LivenessModel:
        """The model, loaded if it is not or if the settings are others than before. The first call can take long.

        Of two models that are meant one does, until the other can be had too.

        Raises:
            LivenessModelUnavailable: it cannot be loaded. A failed download is tried again after half a minute; a
                file that appears, or other settings, are taken up at once.
            Whatever reading the settings raises.
        """
        settings = self._settings()
        loaded = self._loaded
        if loaded is None or loaded.settings != settings or self._is_more_to_be_had(loaded):
            loaded = self._load(settings)
        return loaded.model

    def _is_more_to_be_had(self, loaded: "_Loaded") -> bool:
        return any(self._models.find(wanted) is not None for wanted in loaded.missing)

    def _load(self, settings: ModelSettings) -> "_Loaded":
        finished, missing, errors = [], [], []
        for wanted in _wanted(settings):
            try:
                finished.append(self._models.get(wanted))
            except ModelUnavailable as error:
                missing.append(wanted)
                errors.append(str(error))
        try:
            if not finished:
                raise ModelUnavailable("; ".join(errors))
            with self._lock:
                before = self._loaded
                if before is None or before.settings != settings or len(before.missing) > len(missing):
                    self._loaded = _Loaded(settings, _warmed(self._open(settings, finished)), tuple(missing))
                    if missing:
                        log.warning("liveness by %s alone: %s", self._loaded.model.name, "; ".join(errors))
                    return self._loaded
                return before
        except ModelUnavailable as error:
            advice = f" Or set MODEL_NAME={MINIFASNET}." if settings.is_keras else ""
            raise LivenessModelUnavailable(f"{error}{advice}") from error

    def _open(self, settings: ModelSettings, finished: Sequence[FinishedModel]) -> LivenessModel:
        if settings.is_keras:
            return face_classifier.FaceClassifier.load(finished[0], self._cache, self._or(face_classifier.THRESHOLD))
        models = [_open_named(one) for one in finished]
        if len(models) > 1:
            return FusedModels(models, self._or(FUSED_THRESHOLD))
        (model,) = models
        model.threshold = self._or(model.threshold)
        return model

    def _or(self, threshold: float) -> float:
        return threshold if self._threshold is None else self._threshold


@dataclass(frozen=True)
class _Loaded:
    """A model, and what is meant besides and was not to be had."""

    settings: ModelSettings
    model: LivenessModel
    missing: tuple[Wanted, ...]


def _open_named(finished: FinishedModel) -> MiniFasNet:
    if finished.name == FACEPLUGIN:
        return FacePluginLiveness.load(finished, FACEPLUGIN_THRESHOLD)
    return MiniFasNet.load(finished, THRESHOLD)


def _wanted(settings: ModelSettings) -> tuple[Wanted, ...]:
    if settings.is_keras:
        return (Wanted(settings.name, settings.path, settings.url),)
    minifasnet, faceplugin = Wanted(MINIFASNET, settings.path, settings.url), Wanted(FACEPLUGIN, settings.path)
    alone = {MINIFASNET.lower(): (minifasnet,), FACEPLUGIN.lower(): (faceplugin,)}
    return alone.get(settings.name.lower(), (minifasnet, faceplugin))


def _warmed(model: LivenessModel) -> LivenessModel:
    """The model, run once: the first request is then no slower than others, and a broken network is found here."""
    try:
        model.check(np.zeros((320, 320, 3), np.uint8), [Box(100, 100, 120, 120)])
    except ORT_ERRORS as error:
        raise LivenessModelUnavailable(f"{model.name} cannot be run: {error}") from error
    return model
