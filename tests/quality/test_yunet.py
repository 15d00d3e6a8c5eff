"""YuNet beside MTCNN on real photos: the same faces, the same points."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from services.detector.model import MODEL, YUNET, Detector, open_finder, open_yunet
from services.detector.mtcnn import DetectOptions
from tests.models import finished


@pytest.fixture(scope="module")
def finders(photos: Path) -> tuple[Detector, Detector]:
    """YuNet's and MTCNN's."""
    mtcnn = open_finder(finished(MODEL))
    return Detector(open_yunet(finished(YUNET, photos / "weights"), mtcnn)), Detector(mtcnn)


def test_it_finds_the_faces_that_mtcnn_finds_with_the_same_points(finders: tuple[Detector, Detector], photos: Path):
    yunet, mtcnn = finders
    paths = sorted((photos / "faces" / "deepface").rglob("*.jpg"))[:40]
    assert paths
    apart = []
    for path in paths:
        found, expected = (one.detect_faces(path.read_bytes(), DetectOptions()).faces for one in (yunet, mtcnn))
        largest = max(expected, key=lambda face: face.box.width * face.box.height)
        nearest = min(found, key=lambda face: float(np.abs(face.landmarks - largest.landmarks).sum()))
        eyes = np.linalg.norm(largest.landmarks[0] - largest.landmarks[1])
        apart.append(np.linalg.norm(nearest.landmarks - largest.landmarks, axis=1).mean() / eyes)
    assert np.median(apart) < 0.1 and max(apart) < 0.25  # of the distance between the eyes


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_that_is_turned_is_found_out(finders: tuple[Detector, Detector], photos: Path, turns: int):
    yunet, _ = finders
    wrong = 0
    paths = sorted((photos / "faces" / "nuaa_dev").rglob("*.jpg"))[::16]
    for path in paths:
        photo = np.rot90(cv2.imread(str(path)), -turns)
        faces = yunet.detect_faces(cv2.imencode(".jpg", photo)[1].tobytes(), DetectOptions()).faces
        wrong += any(
            np.degrees(np.arctan2(*(face.landmarks[1] - face.landmarks[0])[::-1])) % 360
            != pytest.approx(90 * turns, abs=45)
            for face in faces[:1]
        )
    assert len(paths) == 10 and wrong == 0
