"""Hand-written stand-ins for what is slow or heavy. Only where a unit is under test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.errors import UnknownModel
from services.common.faces import FaceCrop
from services.embedder.recognition.registry import Recognisers

LANDMARKS = np.array([[20, 25], [40, 25], [30, 35], [22, 45], [38, 45]], dtype=np.float32)


def fake_crop(identity: int, shot: int = 0) -> FaceCrop:
    """A picture that FakeRecogniser takes for the given person (0 to 255), another one for each shot (0 to 255)."""
    pixels = np.zeros((64, 60, 3), dtype=np.uint8)
    pixels[:, :] = (identity, shot, 0)
    return FaceCrop(pixels, LANDMARKS.copy())


@dataclass(frozen=True)
class FakeThresholds:
    cosine: float = 0.3
    euclidean: float = 4.0
    euclidean_l2: float = 0.7


@dataclass(frozen=True)
class FakeSpec:
    name: str
    dimension: int = 32
    thresholds: FakeThresholds = FakeThresholds()
    equal_error: float | None = 0.05


class FakeRecogniser:
    """Embeds the pictures of `fake_crop`: two shots of one person come out near each other, two people far apart."""

    def __init__(self, name: str, version: str = "1", dimension: int = 32):
        self.name = name
        self.version = version
        self.dimension = dimension
        self.embedded = 0

    def embed(self, crops: Sequence[FaceCrop]) -> np.ndarray:
        self.embedded += len(crops)
        return np.stack([self.template(*crop.pixels[0, 0, :2].tolist()) for crop in crops])

    def template(self, identity: int, shot: int = 0) -> np.ndarray:
        """float32 (dimension,): what `embed` gives for fake_crop(identity, shot)."""
        person = np.random.default_rng(identity).normal(size=self.dimension)
        change = np.random.default_rng((identity, shot)).normal(size=self.dimension)
        return (person + 0.2 * change).astype(np.float32)


def fake_recognisers(*recognisers: FakeRecogniser) -> Recognisers:
    """A provider of these models and no others."""
    by_name = {recogniser.name: recogniser for recogniser in recognisers}

    def find(name: str) -> FakeSpec:
        if name not in by_name:
            raise UnknownModel(f"there is no model {name}")
        return FakeSpec(name, by_name[name].dimension)

    load: Callable[[FakeSpec], FakeRecogniser] = lambda spec: by_name[spec.name]  # noqa: E731
    return Recognisers(find, load)
