"""YuNet's grids become faces: where they are, which of several that overlap, at what size of picture."""

import numpy as np
import pytest

from services.detector.mtcnn import DetectOptions
from services.detector.settings import Settings
from services.detector.yunet import STRIDES, YuNet


class Network:
    """Finds what it was told: by stride, (row, column) → score."""

    def __init__(self, **found: dict[tuple[int, int], float]):
        self.found = {int(stride.removeprefix("s")): places for stride, places in found.items()}
        self.shapes: list[tuple[int, ...]] = []

    def run(self, names, feeds):
        picture = feeds["input"]
        self.shapes.append(picture.shape)
        outputs = []
        for stride in STRIDES:
            rows, columns = picture.shape[2] // stride, picture.shape[3] // stride
            score = np.zeros((1, rows * columns, 1), np.float32)
            for (row, column), value in self.found.get(stride, {}).items():
                score[0, row * columns + column] = value
            box = np.zeros((1, rows * columns, 4), np.float32)
            box[..., 2:] = np.log(4)  # four places wide and high
            points = np.tile(np.array([[-1, -1, 1, -1, 0, 0, -1, 1, 1, 1]], np.float32), (1, rows * columns, 1))
            outputs += [score, np.ones_like(score), box, points]
        return outputs


class Voter:
    """Stands for MTCNN's last network."""

    def votes(self, image, boxes):
        return np.ones((len(boxes), 4), np.float32)


def detect(network: Network, width: int = 640, height: int = 480, **options):
    return YuNet(network, Voter()).detect(np.zeros((height, width, 3), np.uint8), DetectOptions(**options))


def test_a_place_becomes_a_face():
    network = Network(s16={(10, 20): 0.81})
    (face,) = detect(network)
    assert network.shapes == [(1, 3, 480, 640)]
    assert (face.box.x, face.box.y, face.box.width, face.box.height) == pytest.approx((288, 128, 64, 64))
    assert face.confidence == pytest.approx(0.9)  # the geometric mean of both scores
    np.testing.assert_allclose(face.landmarks, [(304, 144), (336, 144), (320, 160), (304, 176), (336, 176)])


def test_of_faces_that_overlap_the_surest_is_kept_and_the_surest_comes_first():
    found = detect(Network(s16={(10, 20): 0.7, (10, 21): 0.9, (20, 30): 0.8}))
    assert [round(face.confidence**2, 1) for face in found] == [0.9, 0.8]


def test_a_large_picture_is_shrunk_and_faces_are_told_in_its_own_pixels():
    network = Network(s16={(10, 20): 0.9})
    (face,) = detect(network, 2560, 1920)
    assert network.shapes == [(1, 3, 480, 640)]
    assert (face.box.x, face.box.width) == pytest.approx((4 * 288, 4 * 64))


def test_sides_are_filled_up_to_what_the_network_takes():
    network = Network()
    assert detect(network, 100, 33) == []
    assert network.shapes == [(1, 3, 64, 128)]


def test_small_and_unsure_faces_are_left_out():
    network = Network(s8={(10, 20): 0.9}, s16={(10, 20): 0.3})
    assert detect(network) == []
    assert [face.box.width for face in detect(network, min_face_px=20)] == pytest.approx([32])
    assert len(detect(network, min_confidence=0.7)) == 1


@pytest.mark.parametrize(
    ("value", "finder"),
    [
        ("", "MTCNN"),
        ("yunet", "YuNet"),
        ("MTCNN", "MTCNN"),
        ("localhost:15051", "MTCNN"),
        ("dns:///detector:1", "MTCNN"),
    ],
)
def test_which_face_finder_is_meant(monkeypatch: pytest.MonkeyPatch, value: str, finder: str):
    monkeypatch.setenv("RECO_DETECTOR", value)
    assert Settings.from_environment().finder == finder


def test_a_face_finder_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_DETECTOR", "retina")
    with pytest.raises(SystemExit, match="RECO_DETECTOR=retina.*YuNet"):
        Settings.from_environment()
