"""How a face looks in a picture, in degrees and in words, from five points and the picture's quality."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.faces import Box
from services.gateway.stages.types import FoundFace, PhotoQuality

#: How far the tip of the nose lies before the plane of the eyes and mouth corners, in distances of the eyes.
NOSE_DEPTH = 0.55
#: Of a face seen from the front, in distances of the eyes: from the eyes down to the mouth; of that, down to the nose.
MOUTH_BELOW_EYES, NOSE_OF_MOUTH = 1.16, 0.49

#: Pixels of a face's shorter side below which recognition is uncertain, and degrees above which it is.
SMALL_FACE = 60
MOST_YAW, MOST_PITCH, MOST_ROLL = 25, 25, 30
#: Of a component of quality, 0 to 1: below it the picture is complained of.
POOR = 0.5
WORDS = {
    "sharpness": "blurred",
    "noise": "noisy",
    "exposure": "too dark or too bright",
    "compression": "heavily compressed",
}


@dataclass(frozen=True)
class Pose:
    """Degrees: yaw above 0 is towards the picture's right edge, pitch down, roll clockwise."""

    yaw: float
    pitch: float
    roll: float


def pose_of(landmarks: Sequence[tuple[float, float]]) -> Pose:
    """Estimated from five points (x, y) in the order of LANDMARK_NAMES, y down."""
    left, right, nose, mouth_left, mouth_right = landmarks
    eyes, mouth = _middle(left, right), _middle(mouth_left, mouth_right)
    roll = math.atan2(right[1] - left[1], right[0] - left[0])
    apart = max(math.dist(left, right), 1e-6)
    across, down = _turned(nose, eyes, roll)
    _, height = _turned(mouth, eyes, roll)
    yaw = math.atan(across / (NOSE_DEPTH * apart))
    share = down / height if height > 0 else 1.0
    pitch = math.atan((share - NOSE_OF_MOUTH) * MOUTH_BELOW_EYES / NOSE_DEPTH)
    return Pose(*(round(math.degrees(angle), 1) for angle in (yaw, pitch, roll)))


def complaints_of(face: FoundFace, quality: PhotoQuality, size: tuple[int, int] | None = None) -> list[str]:
    """What makes recognition of a face uncertain, in words.

    Args:
        size: the picture's width and height, if they are known.
    """
    pose = pose_of(face.landmarks)
    turned = abs(pose.roll - 90 * face.quarter_turns) % 360
    found = {
        "too small": min(face.box.width, face.box.height) < SMALL_FACE,
        "turned away": abs(pose.yaw) > MOST_YAW,
        "looking up": pose.pitch < -MOST_PITCH,
        "looking down": pose.pitch > MOST_PITCH,
        "tilted": min(turned, 360 - turned) > MOST_ROLL,
        "upside down": face.quarter_turns == 2,
        "cut off": size is not None and _beyond(face.box, size),
    }
    poor = [words for name, words in WORDS.items() if quality.components.get(name, 1.0) < POOR]
    return [words for words, holds in found.items() if holds] + poor


def _beyond(box: Box, size: tuple[int, int]) -> bool:
    """Whether a tenth of the box, or more, lies outside the picture."""
    width = min(box.x + box.width, size[0]) - max(box.x, 0)
    height = min(box.y + box.height, size[1]) - max(box.y, 0)
    return max(width, 0) * max(height, 0) < 0.9 * box.width * box.height


def _middle(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


def _turned(point: tuple[float, float], origin: tuple[float, float], roll: float) -> tuple[float, float]:
    """A point seen from another one, in a frame that is turned with the face."""
    x, y = point[0] - origin[0], point[1] - origin[1]
    return x * math.cos(roll) + y * math.sin(roll), y * math.cos(roll) - x * math.sin(roll)
