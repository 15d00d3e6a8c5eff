"""Faces brought to the place and size that each network was trained on.

A face's five landmarks are mapped onto a network's canonical points by the similarity transform (rotation, one scale,
shift) that leaves the least squared distance: S. Umeyama, "Least-squares estimation of transformation parameters
between two point patterns", IEEE TPAMI 13(4), 1991.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.common.errors import InvalidRequest
from services.common.faces import LANDMARK_NAMES, FaceCrop

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
        middle = self.width / 2, self.height / 2
        points = tuple(tuple(m + factor * (c - m) for c, m in zip(p, middle, strict=True)) for p in self.points)
        return replace(self, points=points)


@dataclass(frozen=True)
class View:
    """One of the ways in which a face is shown to a network: how much larger than aligned, and whether mirrored."""

    zoom: float = 1.0
    mirrored: bool = False


def similarity(source: np.ndarray, target: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """The similarity transform that brings source points nearest to target points (Umeyama 1991, eq. 40-43).

    Args:
        source, target: (n, 2) points, n >= 2; source must not be a single point.
        weights: n numbers >= 0, of the squared distances; equal if not given.

    Returns:
        float64 (2, 3) matrix M: target ≈ M[:, :2] @ point + M[:, 2]. Never mirrors.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    share = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    share = (share / share.sum())[:, None]
    source_mean, target_mean = (share * source).sum(axis=0), (share * target).sum(axis=0)
    centred = source - source_mean
    left, singular, right = np.linalg.svd((share * (target - target_mean)).T @ centred)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = singular @ signs / (share * centred**2).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


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
    matrix = similarity(crop.landmarks, np.asarray(alignment.points) / stretch, alignment.weights)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    pixels = crop.pixels
    if scale < BILINEAR_DOWN_TO:
        pixels, factors = _shrink(pixels, scale)
        matrix[:, :2] /= factors
    matrix *= stretch[:, None]
    return _sample(pixels, matrix, (alignment.width, alignment.height))


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


def _sample(pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warps by a matrix over our coordinates; OpenCV's have (0, 0) at the centre of the first pixel, not its corner."""
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(pixels, centred, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
