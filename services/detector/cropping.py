"""Cutting a face out of a photo: upright, undistorted, with the margin that every model's own alignment needs.

The frame is that of dlib's 150-pixel face chip (`get_face_chip`, padding 0.25), widened. Measured on 78 photos, in chip
pixels: dlib's chip is 0..150 both ways, ArcFace's template -7..155 by -30..131, the detector's box (median)
16..135 by -21..142, and that box with Facenet's margin of a fifth 4..147 by -37..158. A square crop shows
-24..174 by -40..158 at 1.13 crop pixels a chip pixel for 224 x 224, so that no model's crop loses resolution.
"""

import cv2
import numpy as np

from services.common.faces import Face, FaceCrop
from services.common.geometry import CHIP_LANDMARKS, Similarity, between_pixel_centres

#: The middle of a crop, in chip pixels, and how many chip pixels its shorter side shows: 224 / (170 / 150).
CENTRE = (75.0, 59.0)
SHOWN = 197.6

#: Landmarks nearer to each other than this share of the box's longer side are no face's; the box frames the crop then.
MIN_SPREAD = 0.05


def framing(face: Face, width: int, height: int) -> Similarity:
    """How photo pixels map to crop pixels: such that the landmarks come onto CHIP_LANDMARKS, the crop's frame about them.

    Args:
        face: in the photo's pixels.
        width, height: of the crop, pixels. The shorter one decides the scale, the longer one shows more.
    """
    to_chip = Similarity.fit(face.landmarks, np.array(CHIP_LANDMARKS))
    spread = np.ptp(face.landmarks, axis=0).max()
    if not spread > MIN_SPREAD * max(face.box.width, face.box.height):
        to_chip = _fit_box(face)
    zoom = min(width, height) / SHOWN
    shift = complex(width, height) / 2 - zoom * complex(*CENTRE)
    return Similarity(zoom * to_chip.turn, zoom * to_chip.shift + shift)


def _fit_box(face: Face) -> Similarity:
    """Without usable landmarks: the box's middle at the crop's middle, its longer side at four fifths of the crop."""
    zoom = 0.8 * SHOWN / max(face.box.width, face.box.height)
    middle = complex(face.box.x + face.box.width / 2, face.box.y + face.box.height / 2)
    return Similarity(complex(zoom), complex(*CENTRE) - zoom * middle)


def cut_face(image: np.ndarray, face: Face, width: int, height: int) -> FaceCrop:
    """Cuts a face out of a photo.

    Args:
        image: uint8 (h, w, 3), BGR.
        face: in the pixels of `image`.
        width, height: of the crop, pixels.

    Returns:
        uint8 (height, width, 3) pixels, black where there is no photo, and the face's landmarks in them.
    """
    mapping = framing(face, width, height)
    landmarks = mapping.apply(face.landmarks).astype(np.float32)
    reduced, mapping = _reduce(image, mapping, width, height)
    if reduced.size == 0:
        return FaceCrop(np.zeros((height, width, 3), np.uint8), landmarks)
    pixels = cv2.warpAffine(
        reduced,
        between_pixel_centres(mapping.matrix()),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return FaceCrop(pixels, landmarks)


def _reduce(image: np.ndarray, mapping: Similarity, width: int, height: int) -> tuple[np.ndarray, Similarity]:
    """The part of the photo that the crop shows, its areas averaged until less than two of its pixels make one of
    the crop's: point sampling a large face would alias. Returns it and the mapping from its pixels to the crop's.
    """
    corners = mapping.inverse().apply(np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64))
    factor = max(1, int(1 / mapping.scale))
    left, top = (np.floor(corners.min(axis=0)) - 4 * factor).clip(0, None).astype(int)
    right, bottom = (np.ceil(corners.max(axis=0)) + 4 * factor).clip(0, None).astype(int)
    right, bottom = right + (left - right) % factor, bottom + (top - bottom) % factor
    part = image[top:bottom, left:right]
    if factor > 1 and part.size:
        missing = -part.shape[0] % factor, -part.shape[1] % factor
        if any(missing):
            part = cv2.copyMakeBorder(part, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        size = part.shape[1] // factor, part.shape[0] // factor
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return part, Similarity(mapping.turn * factor, mapping.turn * complex(left, top) + mapping.shift)
