"""A face, as the domain code of every service sees it. Frames and units as in protos/reco/types/v1/face.proto."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

#: Rows of a landmarks array. Left and right are the viewer's.
LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in pixels; it may reach beyond the image."""

    x: float
    y: float
    width: float
    height: float

    def scaled(self, factor: float) -> "Box":
        """The same in a picture that is larger by a factor."""
        return Box(self.x * factor, self.y * factor, self.width * factor, self.height * factor)


@dataclass(frozen=True)
class Face:
    """A face found in a photo.

    Attributes:
        box: where it is, in the upright photo's pixels at full resolution.
        landmarks: float32 (5, 2), (x, y) rows in the order of LANDMARK_NAMES, same frame.
        confidence: probability of a face, 0 to 1.
    """

    box: Box
    landmarks: np.ndarray
    confidence: float


@dataclass(frozen=True)
class FaceCrop:
    """An upright picture of one face with a margin.

    Attributes:
        pixels: uint8 (height, width, 3), BGR.
        landmarks: float32 (5, 2), in the frame of `pixels`.
    """

    pixels: np.ndarray
    landmarks: np.ndarray


class Verdict(Enum):
    """What a face in a photo is taken for; UNDECIDABLE where the photo shows too little to judge."""

    REAL = "real"
    SPOOF = "spoof"
    UNDECIDABLE = "undecidable"


@dataclass(frozen=True)
class View:
    """How a network sees a face and what is around it.

    Attributes:
        scale: of what is shown, over the face's box.
        side: of the square, pixels.
        face_px: the photo is halved first, as long as the shorter side of each face in it keeps that many pixels.
    """

    scale: float
    side: int
    face_px: int
