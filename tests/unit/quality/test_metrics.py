"""The error rates that the quality tests speak of."""

import numpy as np
import pytest

from tests.quality.lfw import all_pairs, read_pairs
from tests.quality.metrics import Distances, best_accuracy, folded_accuracy

GENUINE, IMPOSTOR = [0.1, 0.2, 0.3, 0.5, np.inf], [0.4, 0.6, 0.7, 0.8]
VALUES = np.array(GENUINE + IMPOSTOR)
SAME = np.array([True] * len(GENUINE) + [False] * len(IMPOSTOR))


def test_rates_at_a_threshold_count_equality_as_accepted():
    distances = Distances.of(VALUES, SAME)
    assert distances.fmr(0.4) == 1 / 4 and distances.fmr(0.39) == 0
    assert distances.fnmr(0.3) == pytest.approx(2 / 5) and distances.fnmr(10) == pytest.approx(1 / 5)


def test_operating_point_is_the_largest_threshold_that_keeps_the_fmr():
    distances = Distances.of(VALUES, SAME)
    point = distances.at_fmr(0.25)
    assert 0.599 < point.threshold < 0.6 and point.fmr == 0.25 and point.fnmr == pytest.approx(1 / 5)
    assert distances.at_fmr(0.1).threshold is None  # four pairs cannot tell


def test_equal_error_rate():
    rate, threshold = Distances.of(np.array([1.0, 2, 3, 2.5, 4, 5]), np.array([1, 1, 1, 0, 0, 0], bool)).equal_error()
    assert rate == pytest.approx(1 / 3) and threshold == 2.5


def test_best_accuracy_decides_equal_distances_alike():
    assert best_accuracy(VALUES, SAME) == (7 / 9, 0.3)
    assert best_accuracy(np.array([1.0, 1.0, 1.0]), np.array([True, True, False])) == (2 / 3, 1.0)


def test_folds_are_decided_at_thresholds_of_the_others():
    values = np.array([0.1, 0.9, 0.1, 0.9, 0.9, 0.1])
    same = np.array([True, False, True, False, True, False])  # the third fold is the other way round
    mean, _ = folded_accuracy(values, same, np.array([0, 0, 1, 1, 2, 2]))
    assert mean == pytest.approx(2 / 3)


def test_lfw_lists(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_text("2\t1\nAda\t1\t2\nAda\t1\tBob\t3\nBob\t3\t4\nAda\t2\tBob\t4\n")
    pairs = read_pairs(file, tmp_path)
    assert pairs.has_folds and pairs.folds.tolist() == [0, 0, 1, 1] and pairs.same.tolist() == [True, False] * 2
    assert pairs.photos[pairs.right[1]] == tmp_path / "Bob" / "Bob_0003.jpg"
    file.write_text("1\nAda\t1\n")
    with pytest.raises(ValueError, match="neither"):
        read_pairs(file, tmp_path)


def test_all_pairs_of_a_folder(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/1.png", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    pairs = all_pairs(tmp_path)
    assert len(pairs.photos) == 3 and pairs.same.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="too few"):
        all_pairs(tmp_path / "a")
