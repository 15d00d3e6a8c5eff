"""How faces look: where they point, and what is complained of."""

import math
from typing import Any

import pytest

from services.common.faces import Box
from services.gateway.pipeline.appearance import complaints_of, pose_of
from services.gateway.stages.types import CropFile, FoundFace, PhotoQuality

FRONT = ((38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2))


def face(landmarks: Any = FRONT, size: float = 100, turns: int = 0) -> FoundFace:
    return FoundFace(Box(0, 0, size, size), CropFile(b"", ()), (), turns, landmarks)


def turned(degrees: float) -> list[tuple[float, float]]:
    angle = math.radians(degrees)
    return [(x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)) for x, y in FRONT]


def test_a_face_from_the_front_looks_straight():
    pose = pose_of(FRONT)
    assert max(abs(pose.yaw), abs(pose.pitch), abs(pose.roll)) < 2
    assert complaints_of(face(), PhotoQuality(9, {"sharpness": 1.0})) == []


@pytest.mark.parametrize("roll", [-170, -90, -20, 45, 135])
def test_a_face_that_is_turned_in_the_picture_looks_straight_too(roll: float):
    pose = pose_of(turned(roll))
    assert pose.roll == pytest.approx(roll, abs=1)
    assert max(abs(pose.yaw), abs(pose.pitch)) < 2


def test_where_the_nose_points():
    left, right, (x, y), *mouth = FRONT
    assert pose_of((left, right, (x + 12, y), *mouth)).yaw > 25
    assert pose_of((left, right, (x - 12, y), *mouth)).yaw < -25
    assert pose_of((left, right, (x, y + 12), *mouth)).pitch > 25
    assert pose_of((left, right, (x, y - 12), *mouth)).pitch < -25


def test_points_that_fall_together_have_some_pose():
    pose = pose_of([(1.0, 1.0)] * 5)
    assert all(map(math.isfinite, (pose.yaw, pose.pitch, pose.roll)))


def test_complaints_in_words():
    fine = PhotoQuality(9, {})
    assert complaints_of(face(size=40), fine) == ["too small"]
    assert complaints_of(face(turned(40)), fine) == ["tilted"]
    assert complaints_of(face(turned(180), turns=2), fine) == ["upside down"]
    assert complaints_of(face(turned(90), turns=1), fine) == []
    assert complaints_of(face(), PhotoQuality(1, {"sharpness": 0.1, "exposure": 0.4, "noise": 0.9})) == [
        "blurred",
        "too dark or too bright",
    ]
