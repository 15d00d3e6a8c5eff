"""Error rates within groups, of searches and in disguise, on scores made by hand."""

from pathlib import Path

import numpy as np
import pytest

from services.embedder.recognition.thresholds import Threshold
from tests.quality.disguise import DISGUISES, paint
from tests.quality.groups import rates_by_group, read_groups
from tests.quality.identification import rates_by_size
from tests.quality.lfw import pairs_of

PHOTOS = tuple(Path(person) / f"{number}.jpg" for person in ("ann", "bob", "carl", "dora") for number in range(2))


def test_rates_within_groups():
    pairs = pairs_of(PHOTOS)
    values = np.where(pairs.same, 0.2, 0.8)
    confused = {(0, 2), (1, 2)}  # Ann with one photo of Bob
    values[[i for i, pair in enumerate(zip(pairs.left, pairs.right, strict=True)) if pair in confused]] = 0.1
    values[(pairs.left == 6) & (pairs.right == 7)] = 0.9  # Dora is not herself
    groups = {"ann": "east", "bob": "east", "carl": "west", "dora": "west"}
    everybody, east, west = rates_by_group(values, pairs, groups, 0.5)
    assert (everybody.group, everybody.people, everybody.impostor, everybody.genuine) == ("everybody", 4, 24, 4)
    assert (everybody.fmr, everybody.fnmr) == (pytest.approx(2 / 24), 0.25)
    assert (east.group, east.people, east.fmr, east.fnmr) == ("east", 2, 0.5, 0.0)
    assert (west.fmr, west.fnmr) == (0.0, 0.5)


def test_a_group_of_one_person_has_no_impostors():
    pairs = pairs_of(PHOTOS)
    found = rates_by_group(np.zeros(len(pairs.left)), pairs, {"ann": "alone"}, 0.5)[1]
    assert (found.people, found.fmr, found.fnmr) == (1, None, 0.0)


def test_groups_are_read_from_a_file(tmp_path: Path):
    (tmp_path / "g.csv").write_text("ann,east\n\nbob, west\n")
    assert read_groups(tmp_path / "g.csv") == {"ann": "east", "bob": "west"}


@pytest.mark.parametrize("text", ["ann\n", "ann,east,west\n", "ann,\n", "ann,east\nann,west\n"])
def test_lines_that_are_no_group_are_named(tmp_path: Path, text: str):
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(ValueError, match="line"):
        read_groups(tmp_path / "g.csv")


def test_searches_find_strangers_the_more_the_laxer():
    rng = np.random.default_rng(0)
    people = [f"p{number // 2}" for number in range(400)]
    owners = rng.normal(size=(200, 64)).repeat(2, axis=0)
    templates = (owners + 0.3 * rng.normal(size=(400, 64))).astype(np.float32)
    templates[7] = np.nan
    strict, lax = Threshold(0.3), Threshold(0.9)
    small, large = rates_by_size(templates, people, {10: strict, 100: strict, 200: strict})
    assert (small.people, large.people) == (10, 100)  # of 200 nobody were left as a stranger
    assert small.fpir == large.fpir == 0.0 and small.fnir < 0.05
    (found,) = rates_by_size(templates, people, {100: lax})
    assert found.fpir > 0.9 and found.strangers > 1000
    (never,) = rates_by_size(templates, people, {100: Threshold(1e-6)})
    assert never.fnir == 1.0


def test_of_very_many_photos_all_pairs_of_one_person_are_taken_and_some_of_two():
    photos = tuple(Path(f"p{number // 4}") / f"{number}.jpg" for number in range(8000))
    pairs = pairs_of(photos, most=100_000)
    assert pairs.same.sum() == 2000 * 6
    assert 99_000 < (~pairs.same).sum() <= 100_000
    assert (pairs.left != pairs.right).all()
    assert (pairs_of(photos, most=100_000).left == pairs.left).all()


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_covers_its_part_of_the_face_and_no_more(disguise: str):
    photo = np.full((200, 200, 3), 90, np.uint8)
    landmarks = np.array([(80, 80), (120, 80), (100, 105), (85, 128), (115, 128)], np.float32)
    painted = paint(photo, landmarks, disguise)
    covered = (painted != photo).any(axis=2)
    eyes, mouth = covered[80, 80] and covered[80, 120], covered[128, 100]
    assert (eyes, mouth) == ((False, True) if disguise == "mask" else (True, False))
    assert not covered[20].any() and 0.01 < covered.mean() < 0.25
    assert (photo == 90).all()
