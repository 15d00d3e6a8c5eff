"""A mask, or dark glasses, painted onto faces by their landmarks: what a recogniser makes of the rest."""

import cv2
import numpy as np

DISGUISES = ("mask", "dark glasses")

#: Colours, BGR, of a surgical mask and of glasses.
MASK, GLASSES = (205, 175, 120), (18, 18, 18)


def paint(photo: np.ndarray, landmarks: np.ndarray, disguise: str) -> np.ndarray:
    """A copy of a photo with a face covered.

    Args:
        photo: uint8 (height, width, 3), BGR.
        landmarks: float (5, 2), (x, y) of eyes, nose and mouth corners.
        disguise: one of DISGUISES.
    """
    left, right, nose, mouth_left, mouth_right = landmarks.astype(float)
    across, painted = right - left, photo.copy()
    down = np.array([-across[1], across[0]])  # as long as the eyes are apart
    if disguise == "mask":
        bridge = left + across / 2 + 0.45 * (nose - left - across / 2)
        corners = [
            bridge,
            right + 0.45 * across + 0.35 * down,
            mouth_right + 0.35 * across + 0.35 * down,
            (mouth_left + mouth_right) / 2 + 0.85 * down,
            mouth_left - 0.35 * across + 0.35 * down,
            left - 0.45 * across + 0.35 * down,
        ]
        cv2.fillPoly(painted, [np.rint(corners).astype(np.int32)], MASK)
        return painted
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    apart = float(np.hypot(*across))
    for eye in (left, right):
        size = (round(0.42 * apart), round(0.32 * apart))
        cv2.ellipse(painted, tuple(np.rint(eye).astype(int).tolist()), size, angle, 0, 360, GLASSES, -1)
    ends = [tuple(np.rint(point).astype(int).tolist()) for point in (left, right)]
    cv2.line(painted, ends[0], ends[1], GLASSES, max(2, round(0.08 * apart)))
    return painted
