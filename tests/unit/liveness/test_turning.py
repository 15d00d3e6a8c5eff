"""services/liveness/turning.py: a turned face is judged as if its photo had been upright."""

import cv2
import numpy as np
import pytest
from reco.liveness.v1 import liveness_pb2
from reco.types.v1 import face_pb2

from services.common.errors import InvalidRequest
from services.common.faces import Box, Verdict
from services.common.workers import Workers
from services.liveness.minifasnet import Liveness
from services.liveness.model import check_photo
from services.liveness.servicer import LivenessServicer
from services.liveness.turning import check_upright, turn, turn_box

SCENE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
BOX = Box(100, 60, 80, 120)


class Model:
    """Gives the brightness of what is in a box, and remembers what it was shown."""

    name, version, threshold, least_face = "Fake", "1", 0.5, 120

    def __init__(self):
        self.shown = []

    def check(self, image, boxes):
        self.shown += [image[round(b.y) : round(b.y + b.height), round(b.x) : round(b.x + b.width)] for b in boxes]
        return [Liveness(Verdict.REAL, float(part.mean()) / 255) for part in self.shown[-len(boxes) :]]


@pytest.mark.parametrize("clockwise", [0, 1, 2, 3])
def test_what_is_judged_is_upright(clockwise):
    photo = np.ascontiguousarray(np.rot90(SCENE, -clockwise))
    box = turn_box(BOX, -clockwise % 4, 400, 300)
    model = Model()
    check_upright(model.check, photo, [box], [clockwise])
    assert np.array_equal(model.shown[0], SCENE[60:180, 100:180])
    assert np.array_equal(turn(photo, clockwise), SCENE)


def test_verdicts_come_in_the_order_of_the_boxes():
    boxes = [BOX, Box(10, 20, 30, 40), Box(200, 100, 90, 70), Box(0, 0, 50, 60)]
    model = Model()
    mixed = check_upright(model.check, SCENE, boxes, [2, 0, 1, 2])
    alone = [
        check_upright(model.check, SCENE, [box], [turns])[0] for box, turns in zip(boxes, [2, 0, 1, 2], strict=True)
    ]
    assert mixed == alone


def test_a_photo_is_judged_like_its_turned_copy():
    model = Model()
    upright = check_photo(model, cv2.imencode(".png", SCENE)[1].tobytes(), [BOX])
    copy = cv2.imencode(".png", cv2.rotate(SCENE, cv2.ROTATE_180))[1].tobytes()
    assert check_photo(model, copy, [turn_box(BOX, 2, 400, 300)], [2]) == upright


@pytest.mark.parametrize("turns", [[1], [0, 4], [0, -1], [0, 0, 0]])
def test_turns_that_do_not_fit_the_boxes_are_refused(turns):
    box = face_pb2.Box(width=50, height=50)
    request = liveness_pb2.CheckLivenessRequest(image=b"", boxes=[box, box], quarter_turns=turns)
    with pytest.raises(InvalidRequest, match="quarter_turns"):
        LivenessServicer(None, Workers(1)).CheckLiveness(request, None)
