"""What every search index promises, against comparing everything with everything."""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.embedder.gallery.buckets import bucket_of
from services.embedder.gallery.templates import Templates, no_templates
from services.embedder.matching import Metric, distances
from services.embedder.search.index import SAME, Hit, Index

NO_LIMIT = 1e9

NewIndex = Callable[[int], Index]
Random = np.random.Generator


def templates(vectors: Sequence[Sequence[float]] | np.ndarray, ids: Sequence[str] = ()) -> Templates:
    """Of one person's photos."""
    photo_ids = tuple(ids or (f"{number:03}.png" for number in range(len(vectors))))
    return Templates(photo_ids, np.zeros(len(vectors), dtype=bool), np.asarray(vectors, dtype=np.float32))


def faces(rng: Random, count: int, dimension: int = 32) -> np.ndarray:
    """One person's raw templates, which cluster as faces do: a part of all, one of the person, one of the photo."""
    person = 0.5 + rng.normal(size=dimension)
    vectors = person + 0.4 * rng.normal(size=(count, dimension))
    return (vectors * rng.uniform(0.5, 2, size=(count, 1))).astype(np.float32)


def brute_force(
    people: Mapping[str, Templates], probes: np.ndarray, metric: Metric, threshold: float
) -> list[list[Hit]]:
    """What a search must find."""
    photos = [(person_id, photo_id) for person_id, those in people.items() for photo_id in those.photo_ids]
    vectors = np.concatenate([those.vectors for those in people.values() if len(those)])
    found = []
    for row in distances(metric, probes, vectors).tolist():
        limit, hits = min(threshold, min(row) + SAME), dict[str, Hit]()
        for distance, (person_id, photo_id) in sorted(zip(row, photos, strict=True)):
            if distance <= limit:
                hits.setdefault(person_id, Hit(person_id, photo_id, distance))
        found.append(list(hits.values()))
    return found


def brute_force_people(
    people: Mapping[str, Templates], probes: np.ndarray, metric: Metric, threshold: float, wanted: int
) -> list[list[Hit]]:
    """What a search for several people must find."""
    found = []
    for probe in probes:
        each = [brute_force({name: those}, probe[None], metric, threshold)[0] for name, those in people.items()]
        near = sorted((hit for hits in each for hit in hits), key=lambda hit: (hit.distance, hit.person_id))
        limit = near[wanted - 1].distance + SAME if len(near) >= wanted else threshold
        found.append([hit for hit in near if hit.distance <= limit])
    return found


def _angle(metric: Metric, distance: float) -> float:
    """Between two templates of length 1 that are so far apart."""
    return float(np.arccos(1 - distance) if metric is Metric.COSINE else 2 * np.arcsin(distance / 2))


class IndexContract:
    """Tests of any index; a class that inherits them has a fixture `new_index` that makes an empty one."""

    #: Of how often something is tried in all.
    effort = 1.0
    #: Whether no search sees what somebody had beside what they get.
    changes_at_once = True

    @pytest.mark.parametrize("metric", Metric)
    @pytest.mark.parametrize("seed", range(2))
    def test_any_history_of_changes(self, new_index: NewIndex, metric: Metric, seed: int) -> None:
        rng, dice = np.random.default_rng(seed), random.Random(seed)
        index, people = new_index(32), {"fixed": templates(faces(rng, 2))}
        index.apply(people)
        for _ in range(int(60 * self.effort)):
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
    def test_every_dimension(self, new_index: NewIndex, metric: Metric, dimension: int) -> None:
        rng = np.random.default_rng(dimension)
        people = {f"p{name}": templates(faces(rng, 5, dimension)) for name in range(30)}
        index = new_index(dimension)
        index.add(people)
        probes = np.concatenate([faces(rng, 20, dimension), people["p3"].vectors])
        assert index.search(probes, metric, NO_LIMIT) == brute_force(people, probes, metric, NO_LIMIT)

    @pytest.mark.parametrize("metric", Metric)
    @pytest.mark.parametrize("wanted", [2, 5, 40])
    def test_several_people(self, new_index: NewIndex, metric: Metric, wanted: int) -> None:
        """People with many photos each, more near ones than are wanted, fewer within a threshold."""
        rng = np.random.default_rng(wanted)
        people = {f"p{name}": templates(faces(rng, 9)) for name in range(30)}
        people["twin"] = people["p7"]
        index = new_index(32)
        index.add(people)
        probes = np.concatenate([faces(rng, 2), people["p7"].vectors[:1]])
        for threshold in (NO_LIMIT, 0.5, 0.05):
            expected = brute_force_people(people, probes, metric, threshold, wanted)
            assert index.search(probes, metric, threshold, wanted) == expected

    @pytest.mark.parametrize("metric", Metric)
    def test_awkward_templates(self, new_index: NewIndex, metric: Metric) -> None:
        """Single numbers, tiny and huge lengths, near copies, opposite directions."""
        rng = np.random.default_rng(3)
        axes = np.eye(32, dtype=np.float32)
        twins = np.repeat(faces(rng, 1), 40, axis=0) + 1e-6 * rng.normal(size=(40, 32)).astype(np.float32)
        stored = np.concatenate([axes, -axes, 1e-4 * axes, 1e4 * axes[:3], twins, -twins])
        people = {f"p{number % 17}-{number}": templates(vector[None]) for number, vector in enumerate(stored)}
        index = new_index(32)
        index.add(people)
        probes = np.concatenate([stored[::7], twins + np.float32(1e-7), axes[:2] + axes[1:3], 1e-3 * twins[:2]])
        probes = probes[:: int(1 / self.effort)]
        for threshold in (NO_LIMIT, 1e-3, 0.5):
            assert index.search(probes, metric, threshold) == brute_force(people, probes, metric, threshold)

    @pytest.mark.parametrize("metric", Metric)
    def test_of_ties_everybody_is_found(self, new_index: NewIndex, metric: Metric) -> None:
        same = faces(np.random.default_rng(4), 1)
        index = new_index(32)
        names = [f"p{number:03}" for number in range(int(300 * self.effort))]
        for name in random.Random(5).sample(names, len(names)):
            index.apply({name: templates(np.repeat(same, 2, axis=0))})
        expected = [Hit(name, "000.png", 0.0) for name in names]
        assert index.search(same, metric, 0.1) == [expected]
        index.apply({"p000": no_templates()})
        assert index.search(same, metric, 0.0) == [expected[1:]]

    @pytest.mark.parametrize("metric", Metric)
    def test_what_is_nearly_as_near_is_as_near(self, new_index: NewIndex, metric: Metric) -> None:
        """One photo, enrolled under several IDs, whose templates differ by how it was stored."""
        rng = np.random.default_rng(13)
        axes = np.eye(32, dtype=np.float32)
        for distance in (0.0, 0.05, 0.3):
            people = {f"other {number}": templates(1 - faces(rng, 20)) for number in range(10)}
            for number, more in enumerate((0.0, 0.3, 0.9, 1.1, 30.0)):
                angle = _angle(metric, distance + more * SAME)
                people[f"p{number}"] = templates((np.cos(angle) * axes[0] + np.sin(angle) * axes[1])[None])
            index = new_index(32)
            index.apply(people)
            (hits,) = index.search(axes[:1], metric, 0.5)
            assert [hit.person_id for hit in hits] == ["p0", "p1", "p2"]
            assert [hits] == brute_force(people, axes[:1], metric, 0.5)

    def test_any_id_is_taken_as_it_is(self, new_index: NewIndex) -> None:
        """Quotes, filters of a query language, letters of four bytes, names that differ in an accent only."""
        names = ["anna", "Anna", "ánna", 'a" or key != "', "a' OR 1=1 --", "{a}", "[]", "\\", "𝒜" * 255, "owner in []"]
        rng = np.random.default_rng(11)
        people = {name: templates(faces(rng, len(names)), names) for name in names}
        index = new_index(32)
        index.apply(people)
        for gone in ('a" or key != "', "anna"):
            index.apply({gone: no_templates()})
            del people[gone]
            assert len(index) == sum(map(len, people.values()))
        probes = np.concatenate([those.vectors[:1] for those in people.values()])
        hits = index.search(probes, Metric.EUCLIDEAN, 0.0)
        assert hits == [[Hit(name, "anna", 0.0)] for name in people]

    def test_the_people_of_a_bucket(self, new_index: NewIndex) -> None:
        names = [f"p{number}" for number in range(300)]
        one = templates(faces(np.random.default_rng(12), 1))
        index = new_index(32)
        index.add(dict.fromkeys(names, one))
        index.apply({"p7": no_templates(), "p8": templates(np.repeat(one.vectors, 3, axis=0))})
        del names[7]
        for name in ("p6", "p7", "p8"):
            expected = {other for other in names if bucket_of(other) == bucket_of(name)}
            assert index.people_of(bucket_of(name)) == expected
        everybody = [index.people_of(bucket) for bucket in {bucket_of(name) for name in names}]
        assert sorted(name for people in everybody for name in people) == sorted(names)

    def test_nobody_there(self, new_index: NewIndex) -> None:
        index = new_index(32)
        probes = faces(np.random.default_rng(6), 2)
        assert index.search(probes, Metric.COSINE, 1.0) == [[], []]
        index.apply({"anna": no_templates()})
        assert index.search(probes, Metric.EUCLIDEAN, NO_LIMIT) == [[], []]
        index.apply({"anna": templates(probes)})
        index.apply({"anna": no_templates()})
        assert index.search(probes, Metric.EUCLIDEAN, NO_LIMIT) == [[], []]
        assert index.search(probes[:0], Metric.COSINE, 1.0) == []
        assert len(index) == 0

    def test_the_threshold_itself_matches(self, new_index: NewIndex) -> None:
        index = new_index(2)
        index.add({"anna": templates([[3.0, 4.0]])})
        origin = np.array([[3.0, 3.0]], dtype=np.float32)
        assert index.search(origin, Metric.EUCLIDEAN, 1.0) == [[Hit("anna", "000.png", 1.0)]]
        assert index.search(origin, Metric.EUCLIDEAN, 0.999) == [[]]

    def test_searches_go_on_while_people_come_and_go(self, new_index: NewIndex) -> None:
        """What never changes is found by every search, and of somebody who changes all photos from before or after."""
        rng = np.random.default_rng(9)
        fixed, old, new = faces(rng, 30), faces(rng, 8), faces(rng, 8)
        index = new_index(32)
        index.add({"fixed": templates(fixed), "mover": templates(old)})
        stop = threading.Event()

        def search() -> None:
            while not stop.is_set():
                hits = index.search(fixed[::5], Metric.COSINE, 0.0)
                assert [[hit.person_id for hit in those] for those in hits] == [["fixed"]] * 6
                found = [bool(hits) for hits in index.search(np.concatenate([old, new]), Metric.COSINE, 0.0)]
                assert all(found[:8]) or all(found[8:])
                assert not self.changes_at_once or not all(found)

        with ThreadPoolExecutor(3) as pool:
            searches = [pool.submit(search) for _ in range(3)]
            for turn in range(int(150 * self.effort)):
                other = templates(faces(rng, turn % 9))
                index.apply({"mover": templates((new, old)[turn % 2]), f"other {turn % 40}": other})
            stop.set()
            for done in searches:
                done.result()
