"""FacePlugin's liveness network, and the verdict of it and MiniFASNet together: they see different attacks."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from services.common.faces import Box, View
from services.liveness.minifasnet import LEAST_FACE, Liveness, MiniFasNet, judge_in_photo

#: Scores of FacePlugin's network from here on are REAL, and mean scores of both. By one rule, the highest of 0.05, 0.10, …
#: that refuses at most 8 % of each source of living faces: fitted on the photos of half of the people (NUAA, LFW View 1,
#: deepface), and shown on the other half and on videos in docs/accuracy.md.
FACEPLUGIN_THRESHOLD = 0.25
THRESHOLD = 0.45


class FacePluginLiveness(MiniFasNet):
    """One network of the npm package faceplugin-face-recognition-js; class 0 of three is "real"."""

    name = "FacePluginLiveness"
    side = 128
    real_class = 0

    @staticmethod
    def scale_of(network: str) -> float:
        return 2.7


class FusedModels:
    """Models that have the same say. Safe to call from several threads.

    Attributes:
        models: they.
        name, version, threshold, least_face: see MiniFasNet.
    """

    least_face = LEAST_FACE

    def __init__(self, models: Sequence[MiniFasNet], threshold: float = THRESHOLD):
        self.name = "+".join(model.name for model in models)
        self.version = "-".join(model.version for model in models)
        self.threshold = threshold
        self.models = tuple(models)

    @property
    def views(self) -> tuple[View, ...]:
        """In which each face is shown to them."""
        return tuple(view for model in self.models for view in model.views)

    def check(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Liveness]:
        """Judges faces, as MiniFasNet.check."""
        return judge_in_photo(self, image, boxes)

    def scores(self, pictures: Sequence[np.ndarray]) -> list[float]:
        """The models' mean score, by face; see MiniFasNet.scores."""
        left = iter(pictures)
        votes = np.array([model.scores(list(islice(left, len(model.views)))) for model in self.models])
        scores: list[float] = votes.mean(axis=0, dtype=np.float64).tolist()
        return scores
