"""Faces brought to the place and size that each network was trained on: a face's five landmarks are mapped onto the
network's canonical points.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.common.errors import InvalidRequest
from services.common.faces import LANDMARK_NAMES, FaceCrop
from services.common.geometry import Similarity, between_pixel_centres

#: Below this scale a picture is shrunk by area averaging before it is sampled bilinearly, or it would alias.
BILINEAR_DOWN_TO = 0.8
#: Landmarks closer to each other than this (root mean square, pixels) say nothing about the face's place.
LEAST_SPREAD = 1.0


@dataclass(frozen=True)
class Alignment:
    """Where a network expects a face.

    Attributes:
        name: of the scheme; part of a template's model version, as the numbers below are.
        width, height: of the network's input, pixels.
        points: (x, y) of left eye, right eye, nose, left and right mouth corner (the viewer's left and right) in that
            input; (0, 0) is the top left corner of the top left pixel.
        stretch: horizontal magnification relative to the vertical, for networks trained on boxes that were squeezed
            into a square.
        weights: how much each point counts. Mouths open and move; a smaller weight keeps the face's size out of that.
    """

    name: str
    width: int
    height: int
    points: tuple[tuple[float, float], ...]
    stretch: float = 1.0
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)

    def zoomed(self, factor: float) -> "Alignment":
        """The same with the face larger by a factor about the picture's middle."""
        across, down = self.width / 2, self.height / 2
        points = tuple((across + factor * (x - across), down + factor * (y - down)) for x, y in self.points)
        return replace(self, points=points)


@dataclass(frozen=True)
class View:
    """One of the ways in which a face is shown to a network: how much larger than aligned, and whether mirrored."""

    zoom: float = 1.0
    mirrored: bool = False


def show(crop: FaceCrop, alignment: Alignment, view: View) -> np.ndarray:
    """The face in one view; see `align`."""
    picture = align(crop, alignment.zoomed(view.zoom))
    return picture[:, ::-1] if view.mirrored else picture


def align(crop: FaceCrop, alignment: Alignment) -> np.ndarray:
    """The face as the network expects it.

    Args:
        crop: uint8 (h, w, 3) BGR with float (5, 2) landmarks in its frame. What lies outside it becomes black.

    Returns:
        uint8 (alignment.height, alignment.width, 3), BGR; sampled without aliasing.

    Raises:
        InvalidRequest: pixels or landmarks are not of that form, or the landmarks span no face.
    """
    _check(crop)
    stretch = np.array([alignment.stretch, 1.0])
    mapping = Similarity.fit(crop.landmarks, np.asarray(alignment.points) / stretch, alignment.weights)
    matrix, pixels = mapping.matrix(), crop.pixels
    if mapping.scale < BILINEAR_DOWN_TO:
        pixels, factors = _shrink(pixels, mapping.scale)
        matrix[:, :2] /= factors
    matrix *= stretch[:, None]
    size = alignment.width, alignment.height
    return cv2.warpAffine(pixels, between_pixel_centres(matrix), size, flags=cv2.INTER_LINEAR)


def _check(crop: FaceCrop) -> None:
    pixels, landmarks = crop.pixels, np.asarray(crop.landmarks)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InvalidRequest("a face crop must be 8-bit colour pixels")
    if landmarks.shape != (len(LANDMARK_NAMES), 2) or not np.isfinite(landmarks).all():
        raise InvalidRequest("a face crop needs five landmarks, all finite")
    if np.abs(landmarks).max() > 1e5 or landmarks.std(axis=0).max() < LEAST_SPREAD:
        raise InvalidRequest("the landmarks of a face crop span no face")


def _shrink(pixels: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Averages areas down by about `scale`; returns the picture and the exact (x, y) factors."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.array(size) / (width, height)
