"""Real faces for tests of parity: LFW's photos, or where those are not here one photo that is always installed."""

import os
from pathlib import Path

import cv2
import numpy as np

from deploy.local.demo import FACE_CENTRE, another_face, astronaut
from services.images.decode import decode
from tests.machine import ROOT

SIDE = 250


def portraits(count: int, data: Path | None = None) -> list[np.ndarray]:
    """uint8 (250, 250, 3) BGR each, a face in the middle of each.

    Args:
        count: at most so many, always the same ones; at least five come back.
        data: the folder of test data; RECO_TEST_DATA, or where it is as a rule, if not given.
    """
    data = data or Path(os.environ.get("RECO_TEST_DATA", ROOT.parent / "shared" / "data"))
    paths = sorted((data / "faces" / "lfw_dev").glob("*/*.jpg"))
    chosen = paths[:: len(paths) // count][:count] if paths else []
    return [decode(path.read_bytes()) for path in chosen] or _astronauts()


def _astronauts() -> list[np.ndarray]:
    """The astronaut of scikit-image as she is, mirrored and darker; with other proportions, and those brighter."""
    left, top = round(FACE_CENTRE[0]) - SIDE // 2, max(round(FACE_CENTRE[1]) - SIDE // 2, 0)
    one, other = (photo[top : top + SIDE, left : left + SIDE] for photo in (astronaut(), another_face(astronaut())))
    darker, brighter = cv2.convertScaleAbs(one, alpha=0.6), cv2.convertScaleAbs(other, alpha=1.2, beta=10)
    return [np.ascontiguousarray(photo) for photo in (one, one[:, ::-1], darker, other, brighter)]
