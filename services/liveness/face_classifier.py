"""Liveness models of the original toolkit: a classifier that sees the face alone (a Keras `.h5` file, made ONNX).

What it is given and how it is judged is PuertoRECO's (github.com/chubek/puertoreco, scripts/reco/prepare_img.py and
scripts/liveness/predict_label.py): the detector's box cut at the photo's edges and stretched to 224 x 224, BGR pixels
from 0 to 255 as they are (a network that wants them scaled has a layer for it), and one number out: the probability of
a spoof, which it is from 0.7 on.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from services.common import call
from services.common.errors import ModelUnavailable
from services.common.faces import Box, Verdict
from services.common.models import FinishedModel
from services.common.onnx import ORT_ERRORS, Session, open_shared_session
from services.liveness import ops
from services.liveness.minifasnet import Liveness

#: Scores (1 - probability of a spoof) above this are REAL.
THRESHOLD = 0.3
#: Side of the network's input where its file leaves that open, pixels.
SIDE = 224
#: A face of which the photo shows less cannot be judged.
MIN_VISIBLE = 0.5
#: Faces that go through the network at once.
BATCH = 8


class FaceClassifier:
    """The model, ready to run. Safe to call from several threads.

    Attributes:
        name, version: the file's name; the first digits of its SHA-256.
        threshold: scores above it are REAL.
        least_face: the longer side of the network's input: a smaller face would be enlarged.
    """

    def __init__(self, session: Session, name: str, version: str, threshold: float = THRESHOLD) -> None:
        """
        Args:
            session: takes float32 (n, height, width, 3), gives (n, 1).
            threshold: 0 to 1.

        Raises:
            ValueError: threshold out of range.
            ModelUnavailable: the network takes or gives something else.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"the liveness threshold is {threshold}; 0 to 1 fit")
        self.name, self.version, self.threshold = name, version, threshold
        self._session = session
        pixels, result = session.get_inputs()[0], session.get_outputs()[0]
        if len(pixels.shape) != 4 or pixels.shape[3] != 3:
            raise ModelUnavailable(f"{name} does not take colour pictures, but {pixels.shape}")
        if result.shape[1:] != [1]:
            raise ModelUnavailable(f"{name} gives {result.shape[1:]}, not one probability")
        self._input = pixels.name
        height, width = (side if isinstance(side, int) else SIDE for side in pixels.shape[1:3])
        self._size = width, height
        self.least_face = max(self._size)

    @classmethod
    def load(cls, model: FinishedModel, cache: Path, threshold: float = THRESHOLD) -> "FaceClassifier":
        """Opens a finished model; `cache` is where weights are kept that processes share.

        Raises:
            ModelUnavailable: it is none that judges faces.
        """
        (network,) = model.networks
        facts = model.networks[network]
        try:
            session = open_shared_session(model.path(network), facts.sha256, cache)
        except (OSError, *ORT_ERRORS) as error:
            raise ModelUnavailable(f"{model.path(network)} cannot be loaded: {error}") from error
        return cls(session, model.name, facts.weights_sha256[:16], threshold)

    def check(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Liveness]:
        """Judges faces.

        Args:
            image: uint8 (height, width, 3), BGR, upright: the whole photo.
            boxes: tight boxes of faces in it, sides above 0; they may reach beyond it.

        Returns:
            A verdict for each box, in their order.
        """
        crops = [_crop(image, box, self._size) for box in boxes]
        scores = iter(self._scores([crop for crop in crops if crop is not None]))
        undecidable = Liveness(Verdict.UNDECIDABLE, 0.0)
        return [undecidable if crop is None else self._verdict(next(scores)) for crop in crops]

    def _verdict(self, spoof: float) -> Liveness:
        return Liveness(Verdict.REAL if spoof < 1 - self.threshold else Verdict.SPOOF, min(max(1 - spoof, 0.0), 1.0))

    def _scores(self, crops: list[np.ndarray]) -> list[float]:
        """The probability of a spoof, by crop."""
        scores = []
        for start in range(0, len(crops), BATCH):
            call.check()
            pictures = np.stack(crops[start : start + BATCH]).astype(np.float32)
            scores += self._session.run(None, {self._input: pictures})[0][:, 0].tolist()
        return scores


def _crop(image: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray | None:
    """The box, cut at the photo's edges and stretched to (width, height); None where too little is left."""
    height, width = image.shape[:2]
    if ops.visible_share(box, height, width) < MIN_VISIBLE:
        return None
    left, top = max(int(box.x), 0), max(int(box.y), 0)
    part = image[top : int(box.y + box.height), left : int(box.x + box.width)]
    return cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) if part.size else None
