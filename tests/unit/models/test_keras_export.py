"""When a converted network counts as the same as Keras's."""

import numpy as np
import pytest

from deploy.models.keras.export import TOLERANCE, cosine_difference, least_difference

RIGHT = np.random.default_rng(5).normal(size=(3, 64))
WRONG = RIGHT + np.random.default_rng(6).normal(size=(3, 64)) * 0.1


def refuse():
    raise AssertionError("not to be asked")


def test_agreement_with_the_first_reference_settles_it():
    assert least_difference((RIGHT, RIGHT * 1.000001), lambda: RIGHT, refuse) < TOLERANCE


def test_a_reference_that_is_wrong_itself_is_put_right_by_the_next():
    assert least_difference((RIGHT, RIGHT), lambda: WRONG, lambda: RIGHT) < TOLERANCE


@pytest.mark.parametrize("results", [(WRONG, WRONG), (RIGHT, WRONG), (RIGHT[:, :32],) * 2, (RIGHT * np.nan,) * 2])
def test_one_wrong_result_agrees_with_none(results):
    assert not least_difference(results, lambda: RIGHT, lambda: RIGHT) < TOLERANCE


def test_a_reference_without_numbers_settles_nothing():
    assert least_difference((RIGHT,), lambda: RIGHT * np.nan) == float("inf")


def test_single_numbers_are_compared_by_size():
    assert cosine_difference([[0.2], [0.7]], [[0.2], [0.6]]) == pytest.approx(0.1)
    assert cosine_difference(np.zeros((1, 4)), np.full((1, 4), 0.5)) == 0.5
