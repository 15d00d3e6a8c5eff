"""services/detector/plausibility.py: which five points are a face, and which way round it is."""

import numpy as np
import pytest

from services.detector.plausibility import DOUBTED, REFUSED, fits_a_face, preference, quarter_turns
from tests.unit.detector.faces import face_at


@pytest.mark.parametrize("degrees", [0, 20, -45, 55])
@pytest.mark.parametrize("size", [12, 150, 5000])
def test_an_upright_face_fits_however_large_or_rolled(size, degrees):
    assert fits_a_face(face_at((300, -40), size, degrees).landmarks)


@pytest.mark.parametrize("degrees", [90, -90, 180, 130])
def test_a_turned_face_does_not(degrees):
    assert not fits_a_face(face_at((300, 400), 150, degrees).landmarks)


def test_points_in_another_order_are_no_face():
    """Left for right, and eyes for mouth: what an upright reading of a turned face may give."""
    upright = face_at((300, 400), 150).landmarks
    assert not fits_a_face(upright[[1, 0, 2, 4, 3]])
    assert not fits_a_face(upright[[3, 4, 2, 0, 1]])


def test_a_mirror_image_from_top_to_bottom_is_no_face():
    flipped = face_at((300, 400), 150).landmarks * (1, -1)
    assert not fits_a_face(flipped)


def test_points_on_a_line_or_in_one_place_are_no_face():
    assert not fits_a_face(np.zeros((5, 2), np.float32))
    assert not fits_a_face(np.full((5, 2), 100, np.float32))
    assert not fits_a_face(np.array([(x, 50) for x in (10, 60, 35, 12, 58)], np.float32))
    assert not fits_a_face(np.array([(50, y) for y in (10, 11, 35, 60, 61)], np.float32))


def test_a_face_from_the_side_still_fits():
    """Eyes and mouth half as wide, the nose beside them."""
    landmarks = face_at((300, 400), 150).landmarks
    landmarks[:, 0] = 300 + (landmarks[:, 0] - 300) * 0.6
    landmarks[2, 0] -= 10
    assert fits_a_face(landmarks)


@pytest.mark.parametrize(
    ("degrees", "turns"), [(0, 0), (40, 0), (-40, 0), (90, 1), (130, 1), (180, 2), (-170, 2), (270, 3), (-90, 3)]
)
def test_quarters_are_the_nearest(degrees, turns):
    assert quarter_turns(face_at((80, 90), 60, degrees).landmarks) == turns


def test_the_way_round_that_the_network_likes_best():
    """The confidence counts as much as the votes: one vote of 0.9 each way leaves the confidence's logit alone."""
    face = face_at((80, 90), 60, confidence=0.9)
    even = np.full((2, 4), 0.9)
    assert preference(face, even)[0] == pytest.approx(np.log(9))
    upside_down = np.array([[0.6, 0.01, 0.9999, 0.02], [0.5, 0.02, 0.999, 0.02]])
    value, turns = preference(face, upside_down)
    assert value < REFUSED and turns == 2
    value, _ = preference(face, np.array([[0.999, 0.01, 0.1, 0.02]]))
    assert value > DOUBTED


def test_certainty_is_a_number():
    value, _ = preference(face_at((80, 90), 60), np.array([[1.0, 0.0, 0.0, 0.0]]))
    assert np.isfinite(value) and value > DOUBTED
