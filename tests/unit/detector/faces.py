"""Synthetic faces for tests of the detector."""

import numpy as np

from services.common.faces import Box, Face
from services.common.geometry import CHIP_LANDMARKS


def face_at(centre: tuple[float, float], size: float, degrees: float = 0, confidence: float = 1.0) -> Face:
    """A face as dlib's chip has it, its chip `size` pixels wide about `centre`, turned clockwise by `degrees`."""
    turn = size / 150 * np.exp(1j * np.radians(degrees))
    chip = np.array(CHIP_LANDMARKS) - 75
    points = turn * (chip[:, 0] + 1j * chip[:, 1]) + complex(*centre)
    landmarks = np.stack([points.real, points.imag], axis=1).astype(np.float32)
    return Face(Box(centre[0] - size / 2, centre[1] - size / 2, size, size), landmarks, confidence)
