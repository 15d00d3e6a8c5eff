import numpy as np
import pytest

from services.embedder.gallery.templates import Templates
from services.embedder.matching import (
    Criterion,
    Match,
    Metric,
    Pairs,
    compare,
    distances,
    fuse,
    one_a_person,
    suffices,
    together,
)


def gallery(*vectors, augmented=()):
    ids = tuple(f"{number}.png" for number in range(len(vectors)))
    flags = np.array([number in augmented for number in range(len(vectors))])
    return Templates(ids, flags, np.array(vectors, dtype=np.float32))


def test_distances_are_those_of_the_textbook():
    rng = np.random.default_rng(1)
    probes, stored = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    lengths = np.linalg.norm(probes, axis=1)[:, None] * np.linalg.norm(stored, axis=1)
    cosine = 1 - probes @ stored.T / lengths
    euclidean = np.linalg.norm(probes[:, None] - stored[None], axis=2)
    assert np.allclose(distances(Metric.COSINE, probes, stored), cosine, atol=1e-6)
    assert np.allclose(distances(Metric.EUCLIDEAN, probes, stored), euclidean, atol=1e-5)
    assert np.allclose(distances(Metric.EUCLIDEAN_L2, probes, stored), np.sqrt(2 * cosine), atol=1e-5)


@pytest.mark.parametrize("metric", Metric)
def test_a_template_is_exactly_zero_from_itself(metric):
    vectors = np.random.default_rng(2).normal(size=(4, 128)).astype(np.float32)
    assert (np.diag(distances(metric, vectors, vectors)) == 0).all()


def test_opposite_unit_templates_are_two_apart():
    one, other = np.array([[3.0, 0]], dtype=np.float32), np.array([[-1.0, 0]], dtype=np.float32)
    assert distances(Metric.COSINE, one, other) == pytest.approx(2)
    assert distances(Metric.EUCLIDEAN_L2, one, other) == pytest.approx(2)
    assert distances(Metric.EUCLIDEAN, one, other) == pytest.approx(4)


def test_pairs_at_the_threshold_match():
    criterion = Criterion("M", Metric.EUCLIDEAN, 1.0)
    pairs = compare(criterion, np.array([[0.0, 0]], dtype=np.float32), "anna", gallery([1.0, 0], [1.001, 0], [0, 0.5]))
    assert pairs == Pairs(2, Match("anna", "2.png", "M", 0.5, 1.0, similarity=75.0))


def test_equal_distances_are_settled_by_photo_id():
    criterion = Criterion("M", Metric.EUCLIDEAN, 1.0)
    stored = Templates(("b", "a"), np.zeros(2, bool), np.array([[1.0, 0], [0, 1.0]], dtype=np.float32))
    assert compare(criterion, np.zeros((1, 2), dtype=np.float32), "anna", stored).best.photo_id == "a"


def test_no_pair_no_best():
    criterion = Criterion("M", Metric.COSINE, 1.0)
    nothing = Templates((), np.zeros(0, bool), np.zeros((0, 2), dtype=np.float32))
    assert compare(criterion, np.ones((1, 2), dtype=np.float32), "anna", nothing) == Pairs(0, None)
    assert together([]) == Pairs(0, None)


def test_counts_run_on_over_the_models_and_the_best_is_relative_to_the_threshold():
    strict = Match("anna", "1.png", "Strict", 0.3, 0.4)  # 0.75 thresholds
    lenient = Match("anna", "2.png", "Lenient", 5.0, 10.0)  # 0.5 thresholds
    assert together([Pairs(2, strict), Pairs(3, lenient), Pairs()]) == Pairs(5, lenient)


@pytest.mark.parametrize(
    ("matching", "min_pairs", "probes", "verified"),
    [(2, 2, 5, True), (1, 2, 5, False), (1, 2, 1, True), (0, 2, 1, False), (0, 1, 0, False), (9, 3, 2, True)],
)
def test_as_many_pairs_suffice_as_there_are_probes(matching, min_pairs, probes, verified):
    assert suffices(Pairs(matching), min_pairs, probes) is verified


def test_real_templates_only():
    stored = gallery([1.0, 0], [2.0, 0], [3.0, 0], augmented=(1,))
    assert stored.real().photo_ids == ("0.png", "2.png")
    assert stored.real().vectors[:, 0].tolist() == [1, 3]


def test_one_match_a_person_best_first():
    anna, worse, bob = (
        Match("anna", "1.png", "M", 0.2, 0.4),
        Match("anna", "2.png", "M", 0.3, 0.4),
        Match("bob", "1.png", "N", 1.0, 10.0),
    )
    assert one_a_person([worse, anna, bob]) == [bob, anna]
    assert one_a_person([anna, bob, worse]) == [bob, anna]


def pairs(model: str, distance: float, threshold: float = 0.5) -> Pairs:
    return Pairs(1, Match("p", "a.png", model, distance, threshold))


def test_models_are_fused_by_how_seldom_they_err():
    good = Criterion("good", Metric.COSINE, 0.5, fnmr=0.01)
    weak = Criterion("weak", Metric.COSINE, 0.5, fnmr=0.3)
    unmeasured = Criterion("unmeasured", Metric.COSINE, 0.5)
    agreed = fuse([(good, pairs("good", 0.1)), (weak, pairs("weak", 0.1))])
    assert agreed.verified and agreed.score == pytest.approx(0.8) and agreed.models == ("good", "weak")
    assert fuse([(good, pairs("good", 0.4)), (weak, pairs("weak", 0.7))]).verified
    assert not fuse([(good, pairs("good", 0.6)), (weak, pairs("weak", 0.4))]).verified
    assert fuse([(unmeasured, pairs("unmeasured", 0.0)), (good, pairs("good", 0.6))]).models == ("good",)
    assert fuse([(unmeasured, pairs("unmeasured", 0.0))]) is None
    assert fuse([(good, Pairs())]) is None
