"""Thresholds from other people."""

from pathlib import Path

import numpy as np
import pytest

from tests.quality.crossvalidation import FOLDS, deal, fit_accuracy, fit_fmr, held_out, thresholds_of_others
from tests.quality.lfw import PairList, pairs_of


def people(count: int, photos: int) -> PairList:
    return pairs_of(tuple(Path(f"/p{person}/{number}.jpg") for person in range(count) for number in range(photos)))


def distances(pairs: PairList) -> np.ndarray:
    return np.random.default_rng(8).normal(np.where(pairs.same, 0.3, 0.9), 0.1)


def test_no_threshold_knows_the_people_it_decides_on():
    pairs, asked = people(20, 2), []
    fold_of = deal(pairs)

    def spy(indices, _):
        asked.append({pairs.photos[end[index]].parent for end in (pairs.left, pairs.right) for index in indices})
        return float(len(asked) - 1)

    chosen = thresholds_of_others(np.arange(len(pairs.same)), pairs, fold_of, spy).astype(int)
    assert len(np.unique(chosen)) == FOLDS * (FOLDS + 1) // 2
    for left, right, threshold in zip(pairs.left, pairs.right, chosen, strict=True):
        assert not {pairs.photos[left].parent, pairs.photos[right].parent} & asked[threshold]
        assert len(asked[threshold]) >= 20 * (FOLDS - 2) // FOLDS


def test_a_person_has_one_fold():
    pairs = people(40, 4)
    folds = deal(pairs).reshape(40, 4)
    assert (folds == folds[:, :1]).all()
    assert np.bincount(folds[:, 0], minlength=FOLDS).tolist() == [4] * FOLDS


def test_rates_are_those_of_all_pairs():
    pairs = people(40, 4)
    values = distances(pairs)
    found = held_out(values, pairs, fit_fmr(0.01))
    assert found.fmr == pytest.approx(0.01, rel=0.3)
    assert found.fnmr_of_folds[0] <= found.fnmr <= found.fnmr_of_folds[1]
    assert 0.5 < found.lowest < found.highest < 0.9
    assert held_out(values, pairs, fit_accuracy).accuracy > 0.99


def test_one_persons_doubles_do_not_lower_the_threshold_that_lets_them_in():
    """Fitted on all pairs the threshold would have given way to the person whom everybody looks like."""
    pairs = people(40, 4)
    values = distances(pairs)
    lookalike = (pairs.left < 4) & ~pairs.same
    values[lookalike] = 0.1
    assert held_out(values, pairs, fit_fmr(0.01)).fmr > 0.03


@pytest.mark.parametrize(("count", "photos"), [(2, 3), (40, 1)])
def test_too_few_people_or_photos(count, photos):
    pairs = people(count, photos)
    assert held_out(distances(pairs), pairs, fit_accuracy) is None


def test_too_few_pairs_for_the_rate():
    pairs = people(10, 2)
    assert held_out(distances(pairs), pairs, fit_fmr(0.0001)) is None
