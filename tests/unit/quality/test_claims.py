"""False claims, counted by pairs."""

from pathlib import Path

import numpy as np
import pytest

from tests.quality.claims import false_claims

PHOTOS = [Path(f"/{person}/{number}.jpg") for person in "abc" for number in (1, 2)]
#: a's second photo looks like both of b's; c is like nobody.
TEMPLATES = np.array([[1, 0, 0], [0, 1, 0.1], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32)


def test_counts_pairs_of_both_directions():
    found = false_claims(PHOTOS, [(TEMPLATES, 0.02)])
    assert found.count == 6
    assert found.one_pair == found.two_pairs == pytest.approx(2 / 6)
    assert false_claims(PHOTOS, [(TEMPLATES, 0.001)]).one_pair == 0


def test_models_add_up():
    other = np.roll(TEMPLATES, 2, axis=0)  # b's second photo looks like both of c's
    one = np.array([[1, 0], [0, 1], [0, 1], [-1, 0], [0, -1], [0, -1]], np.float32)  # one pair of a and b
    assert false_claims(PHOTOS, [(TEMPLATES, 0.02), (other, 0.02)]).one_pair == pytest.approx(4 / 6)
    assert false_claims(PHOTOS, [(one, 0.02)]).two_pairs == 0
    assert false_claims(PHOTOS, [(one, 0.02), (one, 0.02)]).two_pairs == pytest.approx(2 / 6)


def test_photos_without_a_template_do_not_count():
    missing = TEMPLATES.copy()
    missing[1] = np.nan
    assert false_claims(PHOTOS, [(missing, 0.02)]).count == 2  # a has one photo left
    assert false_claims(PHOTOS[:2], [(TEMPLATES[:2], 0.02)]) is None
