"""Every index against comparing everything with everything: the in-process one, and Milvus in the shape of Milvus Lite."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.embedder.gallery.templates import Templates, no_templates
from services.embedder.integer_products import IntegerProducts
from services.embedder.matching import Metric, distances
from services.embedder.search import codes as segment
from services.embedder.search import exact as exact_index
from services.embedder.search.index import Hit
from tests.indexes import CACHE, new_exact_index

NO_LIMIT = 1e9
BACKENDS = ("in-process", "milvus")


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    """Segments of 64 templates of 32 numbers: a few hundred fill several of them."""
    monkeypatch.setattr(exact_index, "SEGMENT_BYTES", 64 * 32)
    monkeypatch.setattr(exact_index, "FIRST_ROWS", 8)


@pytest.fixture(params=BACKENDS)
def new_index(request):
    """Makes an empty index for templates of a dimension."""
    return new_exact_index if request.param == "in-process" else request.getfixturevalue("new_milvus_index")


@pytest.fixture
def effort(new_index):
    """How often something is tried, of so many times: Milvus Lite takes a hundred times as long."""
    return (lambda times: times) if new_index is new_exact_index else (lambda times: max(1, times // 10))


def templates(vectors, ids=None):
    ids = ids or tuple(f"{number:03}.png" for number in range(len(vectors)))
    return Templates(ids, np.zeros(len(vectors), dtype=bool), np.asarray(vectors, dtype=np.float32))


def faces(rng, count, dimension=32):
    """One person's raw templates, which cluster as faces do: a part of all, one of the person, one of the photo."""
    person = 0.5 + rng.normal(size=dimension)
    vectors = person + 0.4 * rng.normal(size=(count, dimension))
    return (vectors * rng.uniform(0.5, 2, size=(count, 1))).astype(np.float32)


def brute_force(people, probes, metric, threshold):
    photos = [(person_id, photo_id) for person_id, those in people.items() for photo_id in those.photo_ids]
    vectors = np.concatenate([those.vectors for those in people.values() if len(those)])
    hits = []
    for row in distances(metric, probes, vectors).tolist():
        distance, (person_id, photo_id) = min(zip(row, photos, strict=True))
        hits.append(Hit(person_id, photo_id, distance) if distance <= threshold else None)
    return hits


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize(
    ("new_index", "seed"), [*(("in-process", seed) for seed in range(6)), ("milvus", 0)], indirect=["new_index"]
)
def test_any_history_of_changes_ends_in_what_brute_force_finds(new_index, effort, metric, seed):
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    index, people = new_index(32), {"fixed": templates(faces(rng, 2))}
    index.apply(people)
    for _ in range(effort(60)):
        names = dice.sample(range(120), dice.randint(1, 12))
        changes = {f"p{name}": templates(faces(rng, dice.choice((0, 1, 3, 20)))) for name in names}
        index.apply(changes)
        people |= changes
        somebody = dice.choice([those for those in people.values() if len(those)])
        probes = np.concatenate([faces(rng, 1), somebody.vectors[:1] * 1.01])
        threshold = dice.choice((NO_LIMIT, 0.2, 1.0))
        assert index.search(probes, metric, threshold) == brute_force(people, probes, metric, threshold)
    assert len(index) == sum(map(len, people.values()))


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("dimension", [1, 2, 7, 128, 512, 4096])
def test_every_dimension(new_index, metric, dimension):
    rng = np.random.default_rng(dimension)
    people = {f"p{name}": templates(faces(rng, 5, dimension)) for name in range(30)}
    index = new_index(dimension)
    index.add(people)
    probes = np.concatenate([faces(rng, 20, dimension), people["p3"].vectors])
    assert index.search(probes, metric, NO_LIMIT) == brute_force(people, probes, metric, NO_LIMIT)


@pytest.mark.parametrize("metric", Metric)
def test_awkward_templates(new_index, metric):
    """Single numbers, tiny and huge lengths, near copies, opposite directions."""
    rng = np.random.default_rng(3)
    axes = np.eye(32, dtype=np.float32)
    twins = np.repeat(faces(rng, 1), 40, axis=0) + 1e-6 * rng.normal(size=(40, 32)).astype(np.float32)
    stored = np.concatenate([axes, -axes, 1e-4 * axes, 1e4 * axes[:3], twins, -twins])
    people = {f"p{number % 17}-{number}": templates(vector[None]) for number, vector in enumerate(stored)}
    index = new_index(32)
    index.add(people)
    probes = np.concatenate([stored[::7], twins + np.float32(1e-7), axes[:2] + axes[1:3], 1e-3 * twins[:2]])
    for threshold in (NO_LIMIT, 1e-3, 0.5):
        assert index.search(probes, metric, threshold) == brute_force(people, probes, metric, threshold)


@pytest.mark.parametrize("metric", Metric)
def test_ties_go_to_the_first_id(new_index, effort, metric):
    same = faces(np.random.default_rng(4), 1)
    index = new_index(32)
    names = [f"p{number:03}" for number in range(effort(300))]
    for name in random.Random(5).sample(names, len(names)):
        index.apply({name: templates(np.repeat(same, 2, axis=0))})
    assert index.search(same, metric, 0.1) == [Hit("p000", "000.png", 0.0)]
    index.apply({"p000": no_templates()})
    assert index.search(same, metric, 0.0) == [Hit("p001", "000.png", 0.0)]


def test_any_id_is_taken_as_it_is(new_index):
    """Quotes, filters of a query language, letters of four bytes, names that differ in an accent only."""
    names = ["anna", "Anna", "ánna", 'a" or key != "', "a' OR 1=1 --", "{a}", "[]", "\\", "𝒜" * 255, "owner in []"]
    rng = np.random.default_rng(11)
    people = {name: templates(faces(rng, len(names)), tuple(names)) for name in names}
    index = new_index(32)
    index.apply(people)
    for gone in ('a" or key != "', "anna"):
        index.apply({gone: no_templates()})
        del people[gone]
        assert len(index) == sum(map(len, people.values()))
    probes = np.concatenate([those.vectors[:1] for those in people.values()])
    hits = index.search(probes, Metric.EUCLIDEAN, 0.0)
    assert [(hit.person_id, hit.photo_id) for hit in hits] == [(name, "anna") for name in people]


@pytest.mark.parametrize("probes", [1, 3])
def test_integer_products_are_exact_at_the_extremes(probes):
    """32 bits must hold the sums of the longest templates."""
    digits = np.full((probes, 8192), segment.DIGIT_RANGE, dtype=np.int16)
    codes = np.full((100, 8192), segment.CODE_RANGE, dtype=np.int8)
    codes[::2] = -segment.CODE_RANGE
    codes[10:, ::3] = 1
    products = IntegerProducts(CACHE)(digits, codes)
    assert (products == digits.astype(np.int64) @ codes.T.astype(np.int64)).all()


def test_nobody_there(new_index):
    index = new_index(32)
    probes = faces(np.random.default_rng(6), 2)
    assert index.search(probes, Metric.COSINE, 1.0) == [None, None]
    index.apply({"anna": no_templates()})
    assert index.search(probes, Metric.EUCLIDEAN, NO_LIMIT) == [None, None]
    index.apply({"anna": templates(probes)})
    index.apply({"anna": no_templates()})
    assert index.search(probes, Metric.EUCLIDEAN, NO_LIMIT) == [None, None]
    assert index.search(probes[:0], Metric.COSINE, 1.0) == []
    assert len(index) == 0


def test_the_threshold_itself_matches(new_index):
    index = new_index(2)
    index.add({"anna": templates([[3.0, 4.0]])})
    origin = np.array([[3.0, 3.0]], dtype=np.float32)
    assert index.search(origin, Metric.EUCLIDEAN, 1.0) == [Hit("anna", "000.png", 1.0)]
    assert index.search(origin, Metric.EUCLIDEAN, 0.999) == [None]


def test_people_whose_hashes_collide_are_told_apart(monkeypatch):
    monkeypatch.setattr(segment, "hash", lambda _: 7, raising=False)
    monkeypatch.setattr(exact_index, "hash", lambda _: 7, raising=False)
    rng = np.random.default_rng(7)
    people = {f"p{name}": templates(faces(rng, 3)) for name in range(40)}
    index = new_exact_index(32)
    index.apply(people)
    index.apply({"p7": no_templates()})
    del people["p7"]
    probes = faces(rng, 5)
    assert index.search(probes, Metric.COSINE, 2.0) == brute_force(people, probes, Metric.COSINE, 2.0)


def test_files_and_memory_of_the_forgotten_are_given_back(tmp_path):
    index = new_exact_index(32, tmp_path)
    rng = np.random.default_rng(8)
    for turn in range(100):
        index.apply({f"p{turn % 5}": templates(faces(rng, 20))})
    assert len(index) == 100
    assert sum(one.capacity for one in index._segments) <= 5 * 64
    assert list(tmp_path.iterdir()) == []  # the files have no names


def test_searches_go_on_while_people_come_and_go(new_index, effort):
    """What never changes is found by every search, and a change is seen whole or not at all."""
    rng = np.random.default_rng(9)
    fixed, old, new = faces(rng, 30), faces(rng, 12), faces(rng, 12)
    index = new_index(32)
    index.add({"fixed": templates(fixed), "mover": templates(old)})
    stop = threading.Event()

    def search():
        while not stop.is_set():
            hits = index.search(fixed[::5], Metric.COSINE, 0.0)
            assert [hit.person_id for hit in hits] == ["fixed"] * 6
            found = [hit is not None for hit in index.search(np.concatenate([old, new]), Metric.COSINE, 0.0)]
            assert found in ([True] * 12 + [False] * 12, [False] * 12 + [True] * 12)

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        for turn in range(effort(300)):
            other = templates(faces(rng, turn % 9))
            index.apply({"mover": templates((new, old)[turn % 2]), f"other {turn % 40}": other})
        stop.set()
        for done in searches:
            done.result()


def test_clustered_templates_leave_few_candidates():
    """The codes do their work: hardly anything is read from the files."""
    rng = np.random.default_rng(10)
    people = {f"p{name}": templates(faces(rng, 4)) for name in range(500)}
    index = new_exact_index(32)
    index.add(people)
    read = []
    for one in index._segments:
        plain = one.shelf.vector
        one.shelf.vector = lambda row, plain=plain: read.append(row) or plain(row)
    probes = np.concatenate([those.vectors[:1] * 1.1 for those in list(people.values())[:50]])
    hits = index.search(probes, Metric.COSINE, 0.3)
    assert [hit.distance for hit in hits] == pytest.approx([0] * 50, abs=1e-6)
    assert 50 <= len(read) < 50 * 20
