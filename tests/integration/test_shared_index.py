"""Indexes in Milvus that follow the gallery: real databases, Milvus Lite, everything that can get in between."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from sqlalchemy import select, update

from services.common.database import reading, writing
from services.embedder.gallery.tables import collections
from services.embedder.gallery.templates import StoredPhoto
from services.embedder.matching import Metric
from services.embedder.search.follow import LocalIndexes
from services.embedder.search.index import Hit, IndexUnavailable
from services.embedder.search.milvus.collections import CollectionTable
from tests.indexes import new_exact_index
from tests.milvus import LiteServer, require_milvus

D = "Dlib:1"
NO_LIMIT = 1e9
DIMENSION = 32

require = pytest.fixture(require_milvus, autouse=True)


@pytest.fixture
def milvus(milvus_file):
    return milvus_file


@pytest.fixture
def shared(gallery, milvus):
    """The indexes as one embedder has them."""
    for name in in_milvus(milvus):
        milvus.drop(name)
    return embedder(gallery, milvus)


def embedder(gallery, milvus, patience=15, **instead):
    """Another embedder's indexes; `instead`: methods of MilvusIndex by name, as Tampered takes them."""
    from services.embedder.search.milvus.shared import SharedIndexes

    return SharedIndexes(gallery, CollectionTable(gallery, "here", patience), Tampered(milvus, instead))


class Tampered:
    """A Milvus, or an index in it, some of whose methods are replaced by functions of it and their arguments."""

    def __init__(self, plain, instead):
        self._plain = plain
        self._instead = instead

    def open(self, name):
        return Tampered(self._plain.open(name), self._instead)

    def __getattr__(self, name):
        return partial(self._instead[name], self._plain) if name in self._instead else getattr(self._plain, name)

    def __len__(self):
        return len(self._plain)


class Killed(BaseException):
    """Ends a process wherever it is."""


class Names:
    """The collections in the table."""

    def __init__(self, gallery):
        self._gallery = gallery

    def all(self) -> list[str]:
        with self._gallery.transaction(reading) as connection:
            return list(connection.scalars(select(collections.c.name)))

    def searched(self) -> list[str]:
        with self._gallery.transaction(reading) as connection:
            return list(connection.scalars(select(collections.c.name).where(collections.c.searched)))


def vectors(identity, count=1, seed=0):
    person = np.random.default_rng(identity).normal(size=DIMENSION)
    return (person + 0.2 * np.random.default_rng((identity, seed)).normal(size=(count, DIMENSION))).astype(np.float32)


def enroll(gallery, person_id, those):
    gallery.enroll(person_id, [StoredPhoto(f"{number}.png", False, {D: one}) for number, one in enumerate(those)], ())


def found(indexes, *identities, threshold=0.3):
    probes = np.concatenate([vectors(identity) for identity in identities])
    hits = indexes.current(D, DIMENSION).search(probes, Metric.COSINE, threshold)
    return [those[0].person_id if those else None for those in hits]


def healed(indexes):
    """Waits until searches are answered again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(IndexUnavailable):
            return found(indexes, 1)
        time.sleep(0.1)
    return found(indexes, 1)


def in_milvus(milvus):
    return [name for name in milvus.client().list_collections() if name.startswith("reco_")]


def stored(milvus, name):
    rows = milvus.client().query(name, filter='key >= ""', output_fields=["person_id"], consistency_level="Strong")
    return sorted({row["person_id"] for row in rows})


def test_whoever_enrols_everybody_finds(gallery, milvus, shared):
    other = embedder(gallery, milvus)
    assert found(shared, 1) == found(other, 1) == [None]
    enroll(gallery, "anna", vectors(1))
    assert found(other, 1) == found(shared, 1) == ["anna"]
    enroll(gallery, "anna", vectors(2))
    enroll(gallery, "bob", vectors(1))
    assert found(shared, 1, 2) == found(other, 1, 2) == ["bob", "anna"]
    gallery.remove("bob")
    assert found(other, 1, 2) == found(shared, 1, 2) == [None, "anna"]
    assert len(Names(gallery).all()) == 1


def test_the_same_answers_as_in_process_while_people_come_and_go(gallery, milvus, shared):
    dice, rng = random.Random(0), np.random.default_rng(0)
    copies = [shared, embedder(gallery, milvus)]
    reference = LocalIndexes(gallery, new_exact_index)
    faces = [vectors(dice.randrange(12), dice.choice((1, 2, 6))) for _ in range(20)]  # some of them several times
    for turn in range(20):
        for _ in range(dice.choice((1, 1, 5, 70))):
            enroll(gallery, f"p{dice.randrange(60)}", dice.choice(faces) if dice.random() < 0.8 else ())
        if turn % 8 == 7:
            gallery.drop_all()
            dice.choice(copies).forget()
        if turn % 6 == 5:
            dice.choice(copies).rebuild(D, DIMENSION)
        probes = np.concatenate([dice.choice(faces)[:1], rng.normal(size=(1, DIMENSION)).astype(np.float32)])
        metric, threshold = dice.choice(list(Metric)), dice.choice((NO_LIMIT, 0.4))
        expected = reference.current(D, DIMENSION).search(probes, metric, threshold)
        assert dice.choice(copies).current(D, DIMENSION).search(probes, metric, threshold) == expected
    assert len(shared.current(D, DIMENSION)) == len(reference.current(D, DIMENSION))
    assert sorted(in_milvus(milvus)) == sorted(Names(gallery).searched())


def test_more_changes_than_go_into_one_step(gallery, milvus, shared):
    assert found(shared, 1) == [None]
    for number in range(150):
        enroll(gallery, f"p{number}", vectors(number))
    assert found(shared, 3, 149) == ["p3", "p149"]
    assert len(shared.current(D, DIMENSION)) == 150


def test_a_writer_killed_before_it_could_note_what_it_wrote(gallery, milvus, shared):
    enroll(gallery, "anna", vectors(1))
    enroll(gallery, "bob", vectors(2))
    assert found(shared, 1, 2) == ["anna", "bob"]
    gallery.remove("anna")
    enroll(gallery, "bob", vectors(3, 2))
    enroll(gallery, "carl", vectors(4))

    def written_and_killed(index, changes):
        index.apply(changes)
        raise Killed

    def killed_halfway(index, changes):
        index.apply(dict(list(changes.items())[:1]))
        raise Killed

    for killed in (killed_halfway, written_and_killed):
        with pytest.raises(Killed):
            found(embedder(gallery, milvus, apply=killed), 1)
    assert found(shared, 1, 2, 3, 4) == [None, None, "bob", "carl"]
    assert len(shared.current(D, DIMENSION)) == 3


def test_an_older_state_never_overwrites_a_newer_one(gallery, milvus, shared):
    """One embedder has read a change and is slow to write it; the person changes again, and another one searches."""
    reached, go_on = threading.Event(), threading.Event()

    def slow(index, changes):
        reached.set()
        assert go_on.wait(20)
        index.apply(changes)

    assert found(shared, 1) == [None]
    enroll(gallery, "anna", vectors(1))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(found, embedder(gallery, milvus, apply=slow), 1)
        assert reached.wait(20)
        change = pool.submit(enroll, gallery, "anna", vectors(2))  # on SQLite it waits for the writer
        second = pool.submit(found, shared, 2)
        assert not wait([second], timeout=1.5).done  # it waits for the first, and does not overtake it
        go_on.set()
        change.result(30), first.result(30), second.result(30)
    assert found(shared, 1, 2) == [None, "anna"]
    assert len(shared.current(D, DIMENSION)) == 1


def test_embedders_that_enrol_and_search_at_once(gallery, milvus, shared):
    copies = [shared, *(embedder(gallery, milvus) for _ in range(2))]
    enroll(gallery, "fixed", vectors(100))

    def work(number):
        for turn in range(6):
            enroll(gallery, f"own {number}", vectors(number, 1, turn))
            assert found(copies[number], number, 100) == [f"own {number}", "fixed"]
            gallery.remove(f"own {number}")
            assert found(copies[number], number) == [None]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert len(shared.current(D, DIMENSION)) == 1
    assert len(in_milvus(milvus)) == len(Names(gallery).all()) == 1


def test_searches_are_answered_by_the_old_collection_while_a_new_one_is_filled(gallery, milvus, shared):
    enroll(gallery, "anna", vectors(1))
    assert found(shared, 1) == ["anna"]
    (before,) = Names(gallery).all()
    answers = []

    def searched_meanwhile(index, people):
        index.add(people)
        enroll(gallery, "bob", vectors(2))
        answers.append((found(shared, 1, 2), index.name))

    embedder(gallery, milvus, add=searched_meanwhile).rebuild(D, DIMENSION)
    (after,) = Names(gallery).all()
    assert answers == [(["anna", "bob"], after)]
    assert after != before
    assert found(shared, 1, 2) == ["anna", "bob"]
    assert in_milvus(milvus) == [after]


def test_a_collection_replaced_while_it_is_searched(gallery, milvus, shared):
    enroll(gallery, "anna", vectors(1))
    index = shared.current(D, DIMENSION)
    assert len(index) == 1
    embedder(gallery, milvus).rebuild(D, DIMENSION)
    old = index.search(vectors(1), Metric.COSINE, 0.3)
    assert [[hit.person_id for hit in hits] for hits in old] == [["anna"]]
    held = shared.up_to_date(D, DIMENSION)
    embedder(gallery, milvus).rebuild(D, DIMENSION)
    from services.embedder.search.milvus.index import CollectionGone

    with pytest.raises(CollectionGone):
        held.search(vectors(1), Metric.COSINE, 0.3)


def test_a_milvus_that_was_emptied_is_filled_again(gallery, milvus, shared):
    enroll(gallery, "anna", vectors(1))
    assert found(shared, 1) == ["anna"]
    milvus.client().drop_collection(Names(gallery).all()[0])
    assert found(shared, 1) == ["anna"]
    milvus.client().drop_collection(Names(gallery).all()[0])
    enroll(gallery, "bob", vectors(2))
    assert found(embedder(gallery, milvus), 1, 2) == ["anna", "bob"]
    assert len(Names(gallery).all()) == 1


def test_the_removed_are_erased_at_once_from_every_collection(gallery, milvus, shared):
    for name in ("anna", "bob"):
        photo = {D: vectors(1)[0], "Old:1": vectors(2)[0]}
        gallery.enroll(name, [StoredPhoto("1.png", False, photo)], ())
    for model in (D, "Old:1"):
        assert len(shared.current(model, DIMENSION)) == 2
    gallery.remove("anna")
    embedder(gallery, milvus).erase()  # one that has searched nothing yet
    assert [stored(milvus, name) for name in Names(gallery).all()] == [["bob"]] * 2
    gallery.drop_all()
    embedder(gallery, milvus).forget()
    assert in_milvus(milvus) == Names(gallery).all() == []
    assert found(shared, 1) == [None]


def test_what_a_killed_embedder_left_half_filled(gallery, milvus, shared):
    def killed(index):
        raise Killed

    enroll(gallery, "anna", vectors(1))
    with pytest.raises(Killed):
        found(embedder(gallery, milvus, flush=killed), 1)
    (left,) = Names(gallery).all()
    assert found(embedder(gallery, milvus, patience=0), 1) == ["anna"]
    assert left in in_milvus(milvus)  # though somebody may still be at it
    with gallery.transaction(writing) as connection:
        connection.execute(update(collections).where(collections.c.name == left).values(touched=1))
    enroll(gallery, "anna", vectors(2))
    shared.erase()
    assert in_milvus(milvus) == Names(gallery).all() == Names(gallery).searched()


def test_one_fills_and_the_others_wait(gallery, milvus, shared):
    for number in range(20):
        enroll(gallery, f"p{number}", vectors(number))
    copies = [shared, *(embedder(gallery, milvus) for _ in range(3))]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda copy: found(copy, 3), copies)) == [["p3"]] * 4
    assert len(in_milvus(milvus)) == len(Names(gallery).all()) == 1


def test_an_epoch_that_ends_while_a_collection_is_filled(gallery, milvus, shared):
    enroll(gallery, "anna", vectors(1))
    once = []

    def dropped_meanwhile(index, people):
        if not once:
            once.append(True)
            gallery.drop_all()
            shared.forget()
        index.add(people)

    assert found(embedder(gallery, milvus, add=dropped_meanwhile), 1) == [None]
    enroll(gallery, "bob", vectors(1))
    assert found(shared, 1) == ["bob"]
    assert len(in_milvus(milvus)) == len(Names(gallery).all()) == 1


def test_an_outage_loses_nothing_and_heals(gallery, tmp_path):
    """Of Milvus Lite behind an address; a real server's is in tests/e2e/test_milvus.py."""
    from services.embedder.search.milvus.index import Milvus

    if LiteServer.missing:
        pytest.skip(LiteServer.missing)
    with LiteServer(tmp_path) as server:
        indexes = embedder(gallery, Milvus(server.uri))
        enroll(gallery, "anna", vectors(1))
        assert found(indexes, 1) == ["anna"]
        server.stop()
        with pytest.raises(IndexUnavailable):
            found(indexes, 1)
        enroll(gallery, "bob", vectors(2))
        gallery.remove("anna")
        with pytest.raises(IndexUnavailable):
            indexes.erase()
        with pytest.raises(IndexUnavailable):
            found(indexes, 1)
        with pytest.raises(IndexUnavailable):
            indexes.rebuild(D, DIMENSION)
        server.start()
        healed(indexes)
        hits = indexes.current(D, DIMENSION).search(vectors(2), Metric.EUCLIDEAN, 0.0)
        assert hits == [[Hit("bob", "0.png", 0.0)]]
        assert found(embedder(gallery, Milvus(server.uri)), 1) == [None]
        indexes.erase()  # drops what the outage kept from being dropped
        names = Milvus(server.uri).client().list_collections()
        assert sorted(names) == sorted(Names(gallery).all()) == sorted(Names(gallery).searched())
