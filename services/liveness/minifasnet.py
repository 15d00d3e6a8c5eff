"""MiniFASNet tells a living face from a printed or replayed one by the face and what lies around it.

Two small networks of Silent-Face-Anti-Spoofing (Minivision, Apache-2.0), one that sees 2.7 times the face box and one
that sees 4 times, vote; class 1 of three is "real".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np

from services.common import call
from services.common.errors import ModelUnavailable
from services.common.faces import Box, Verdict, View
from services.common.models import FinishedModel
from services.common.onnx import ORT_ERRORS, Session, open_session
from services.images.views import show, usable_scale
from services.liveness import ops

#: Scores from here on are REAL. The authors take the likeliest class, which is 0.5. Measured with MTCNN boxes on 122
#: living webcam faces, 299 photos of LFW and 121 prints and screens (`python -m tests.quality.evaluate_liveness`): 0.5
#: refuses 11.5 % of the living and 8.7 % of LFW, 0.45 refuses 8.2 and 8.4 %, 0.4 refuses 7.4 and 8.4 %, and none
#: accepts an attack. Of 1,573 attacks made by cropping, blurring, relighting and recompressing those, 0.5 accepts 1,
#: 0.45 and 0.4 accept 3. 0.45 is the highest of 0.05, 0.10, … that refuses at most a tenth of all living faces; for
#: rates on sources that it was not chosen by see docs/accuracy.md. Two screens are too few to tell of replays: raise
#: it where those are to be feared.
THRESHOLD = 0.45

#: A face box can be judged if it fits this many times into the photo. Photos cut to less were measured: of the living
#: 9 % are refused at 1.5 and anywhere above, 15 % at 1.4, 19 % at 1.3, 41 % at 1.0.
MIN_SCALE = 1.4

#: Nor can a face with fewer pixels: of photos shrunk to a box width of 48 pixels 18 % of the living are refused, of
#: 32 pixels 36 %, of 24 pixels half.
MIN_SIDE = 32

#: Nor one of which the photo shows less than half (what is moved into the crop then is something else).
MIN_VISIBLE = 0.5

#: A photo is decoded smaller only as long as its faces keep this many pixels: four then make one that a network sees.
#: Measured: of 49 living faces reduced to three or four two changed sides (one each way), of 31 printed ones none.
LEAST_FACE = 120

#: Side of what a network sees, pixels.
SIDE = 80

#: Faces judged at a time: bounds memory, and the work that is done for a caller who has gone.
BATCH = 16


@dataclass(frozen=True)
class Liveness:
    """A verdict on one face.

    Attributes:
        verdict: UNDECIDABLE where the photo shows too little of the face or of what is around it.
        score: probability of a living face, 0 to 1; 0 where undecidable.
    """

    verdict: Verdict
    score: float


class MiniFasNet:
    """The model, ready to run. Safe to call from several threads.

    Attributes:
        name, version: the model's; the version tells the weights.
        threshold: scores at or above it are REAL.
        least_face: see services.liveness.model.LivenessModel.
        side, real_class: of what a network sees, pixels; which of its classes is a living face.
    """

    name = "MiniFASNet"
    least_face = LEAST_FACE
    side = SIDE
    real_class = 1

    def __init__(self, networks: Mapping[float, Session], version: str, threshold: float = THRESHOLD) -> None:
        """
        Args:
            networks: by the scale of the crop that each sees; each takes `pixels`, float32 (n, side, side, 3), BGR, 0 to
                255, and gives the probabilities of its classes, float32 (n, 3).
            version: tells these networks from others.
            threshold: 0 to 1.

        Raises:
            ValueError: threshold out of range.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"the liveness threshold is {threshold}; 0 to 1 fit")
        self.version = version
        self.threshold = threshold
        self._networks = dict(networks)

    @classmethod
    def load(cls, model: FinishedModel, threshold: float = THRESHOLD) -> Self:
        """Opens a finished model.

        Raises:
            ModelUnavailable: a network cannot be opened.
        """
        version = "-".join(network.weights_sha256[:8] for network in model.networks.values())
        try:
            networks = {cls.scale_of(name): open_session(model.path(name)) for name in model.networks}
        except (OSError, ValueError, *ORT_ERRORS) as error:
            raise ModelUnavailable(f"{model.name} in {model.folder} cannot be loaded: {error}") from error
        return cls(networks, version, threshold)

    @staticmethod
    def scale_of(network: str) -> float:
        """The scale of the crop that a network sees, which it is named by."""
        return float(network)

    @property
    def views(self) -> tuple[View, ...]:
        """In which each face is shown to the networks."""
        return tuple(View(scale, self.side, self.least_face) for scale in self._networks)

    def check(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Liveness]:
        """Judges faces.

        Args:
            image: uint8 (height, width, 3), BGR, upright: the whole photo.
            boxes: tight boxes of faces in it, as a detector finds them, sides above 0; they may reach beyond it.

        Returns:
            A verdict for each box, in their order.
        """
        return judge_in_photo(self, image, boxes)

    def scores(self, pictures: Sequence[np.ndarray]) -> list[float]:
        """The networks' mean probability of class "real", by face.

        Args:
            pictures: of each view uint8 (n, side, side, 3), BGR.
        """
        both = zip(self._networks.values(), pictures, strict=True)
        votes = [self._probabilities(network, shown)[:, self.real_class] for network, shown in both]
        scores: list[float] = np.array(votes).mean(axis=0, dtype=np.float64).tolist()
        return scores

    @staticmethod
    def _probabilities(network: Session, shown: np.ndarray) -> np.ndarray:
        pieces = []
        for start in range(0, len(shown), BATCH):
            call.check()
            pieces.append(network.run(None, {"pixels": shown[start : start + BATCH].astype(np.float32)})[0])
        return np.concatenate(pieces)


@runtime_checkable
class Scorer(Protocol):
    """A model that scores faces by views of them, without the photo; see MiniFasNet."""

    threshold: float

    @property
    def views(self) -> tuple[View, ...]: ...

    def scores(self, pictures: Sequence[np.ndarray]) -> list[float]: ...


def judge_in_photo(scorer: Scorer, image: np.ndarray, boxes: Sequence[Box]) -> list[Liveness]:
    """A verdict for each face of a photo, see MiniFasNet.check."""

    def shown(places: Sequence[int]) -> list[np.ndarray]:
        return [np.stack([show(image, boxes[place], view) for place in places]) for view in scorer.views]

    return judge(scorer, image.shape[:2], boxes, shown)


def judge(
    scorer: Scorer,
    size: tuple[float, ...],
    boxes: Sequence[Box],
    shown: Callable[[Sequence[int]], Sequence[np.ndarray]],
) -> list[Liveness]:
    """A verdict for each box, in their order.

    Args:
        size: height and width of the photo, in whose pixels the boxes are.
        shown: gives the pictures that MiniFasNet.scores takes, of the boxes of these numbers.
    """
    height, width = size
    places = [place for place, box in enumerate(boxes) if _decidable(box, height, width)]
    verdicts = [Liveness(Verdict.UNDECIDABLE, 0.0)] * len(boxes)
    for place, score in zip(places, scorer.scores(shown(places)) if places else (), strict=True):
        verdicts[place] = Liveness(Verdict.REAL if score >= scorer.threshold else Verdict.SPOOF, score)
    return verdicts


def _decidable(box: Box, height: float, width: float) -> bool:
    return (
        usable_scale(box, height, width) >= MIN_SCALE
        and ops.visible_share(box, height, width) >= MIN_VISIBLE
        and min(box.width, box.height) >= MIN_SIDE
    )
