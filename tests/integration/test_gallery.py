"""The gallery on real databases: SQLite always, MariaDB where it is installed."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import make_url, select, text, update

from services.common.database import open_engine
from services.common.encryption import CannotDecrypt, Keyring
from services.common.errors import DatabaseRefused, DatabaseUnavailable
from services.embedder.gallery.buckets import bucket_of
from services.embedder.gallery.models import drop_others
from services.embedder.gallery.renewal import renew
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.tables import metadata, templates
from services.embedder.gallery.templates import StoredPhoto
from services.embedder.matching import Metric
from services.embedder.search.follow import LocalIndexes
from tests.indexes import new_exact_index

D = "Dlib:1"
A = "ArcFace:1"


def photo(photo_id, seed=0, models=(D,), augmented=False):
    vectors = {model: np.random.default_rng((seed, *model.encode())).normal(size=128) for model in models}
    return StoredPhoto(photo_id, augmented, {model: vector.astype(np.float32) for model, vector in vectors.items()})


def merged(batches):
    return {person: those for batch in batches for person, those in batch.items()}


def photos_of(batches):
    return {person: those.photo_ids for person, those in merged(batches).items()}


def test_templates_come_back_bit_for_bit(gallery):
    photos = [photo("b.png", 1, (D, A)), photo("a.png", 2, (D, A), augmented=True)]
    assert gallery.enroll("anna", photos, ()) == 2
    stored = gallery.templates_of("anna", D)
    assert stored.photo_ids == ("a.png", "b.png")
    assert stored.augmented.tolist() == [True, False]
    assert stored.vectors.dtype == np.float32
    assert (stored.vectors == np.stack([photos[1].vectors[D], photos[0].vectors[D]])).all()
    assert (gallery.templates_of("anna", A).vectors[1] == photos[0].vectors[A]).all()
    assert len(gallery.templates_of("anna", "Dlib:2")) == 0
    assert len(gallery.templates_of("bob", D)) == 0


def test_enrolling_sets_what_is_stored(gallery):
    gallery.enroll("anna", [photo("1"), photo("2"), photo("3")], ())
    assert gallery.enroll("anna", [photo("4", 7), photo("2", 8)], {"1", "2", "never seen"}) == 3
    stored = gallery.templates_of("anna", D)
    assert stored.photo_ids == ("1", "2", "4")
    assert (stored.vectors[1] == photo("2", 8).vectors[D]).all()
    assert gallery.enroll("anna", [photo("4", 7), photo("2", 8)], {"1", "2"}) == 3  # once more: no change
    assert gallery.templates_of("anna", D).photo_ids == ("1", "2", "4")
    assert gallery.enroll("anna", [], ()) == 0
    assert len(gallery.templates_of("anna", D)) == 0


def test_ids_are_compared_letter_by_letter(gallery):
    for name in ("anna", "Anna", "ánna", "аnna", "Ａnna", "a%", "a_", "ann'a", '"; DROP TABLE reco_templates; --'):
        assert gallery.enroll(name, [photo("x.png"), photo("X.png")], ()) == 2
    assert len(merged(gallery.everything(D))) == 9
    assert gallery.remove("anna") == 2
    assert gallery.remove("anna") == 0
    assert len(gallery.templates_of("Anna", D)) == 2


def test_who_is_not_enrolled(gallery):
    gallery.enroll("both", [photo("1", models=(D, A))], ())
    gallery.enroll("dlib", [photo("1")], ())
    gallery.enroll("mixed", [photo("1")], ())
    gallery.enroll("mixed", [photo("2", models=(D, A))], {"1"})
    gallery.enroll("gone", [photo("1", models=(D, A))], ())
    gallery.remove("gone")
    gallery.enroll("empty", [], ())
    everyone = ["both", "dlib", "mixed", "gone", "empty", "never"]
    assert gallery.unenrolled(everyone, [D, A]) == ["dlib", "mixed", "gone", "empty", "never"]
    assert gallery.unenrolled(everyone, [D]) == ["gone", "empty", "never"]
    assert gallery.unenrolled(everyone, ["Dlib:2"]) == everyone
    assert gallery.unenrolled([], [D]) == []
    many = [f"person {number}" for number in range(1200)]
    assert gallery.unenrolled([*many, "both"], [D]) == many


def test_changes_since_a_revision(gallery):
    start = gallery.revision()
    gallery.enroll("anna", [photo("1"), photo("2")], ())
    gallery.enroll("bob", [photo("1")], ())
    middle = gallery.revision()
    assert middle.epoch == start.epoch
    assert middle.number > start.number
    assert photos_of(gallery.changes_since(start.number, D)) == {"anna": ("1", "2"), "bob": ("1",)}
    assert photos_of(gallery.changes_since(middle.number, D)) == {}
    gallery.remove("anna")
    gallery.enroll("bob", [photo("2")], {"1"})
    assert photos_of(gallery.changes_since(middle.number, D)) == {"bob": ("1", "2")}
    assert photos_of(gallery.changes_since(middle.number, A)) == {"bob": ()}
    assert photos_of(gallery.everything(D)) == {"bob": ("1", "2")}
    assert gallery.removals_since(middle.number) == [bucket_of("anna")]
    assert gallery.removals_since(gallery.revision().number) == []
    assert gallery.absent(["anna", "bob", "never"]) == ["anna", "never"]


def test_templates_are_encrypted_and_change_their_key(gallery, engine):
    keys = [bytes(32)]
    ring = Keyring(lambda: tuple(keys))
    encrypted = Gallery(lambda: engine, ring)
    people = [f"p{number}" for number in range(0, 700, 50)]
    for number, person in enumerate(people):
        (gallery, encrypted)[number % 2].enroll(person, [photo("1", number, (D, A)), photo("2", number)], ())
    expected = {person: photo("1", number).vectors[D] for number, person in enumerate(people)}

    def check():
        stored = merged(encrypted.everything(D))
        assert all((stored[person].vectors[0] == vector).all() for person, vector in expected.items())
        assert (encrypted.templates_of("p50", D).vectors[0] == expected["p50"]).all()
        assert merged(encrypted.changes_since(0, D)).keys() == expected.keys()

    check()
    before = encrypted.revision()
    assert (renew(encrypted, ring), renew(encrypted, ring)) == (7 * 3, 0)
    keys.insert(0, bytes(range(32)))
    assert (renew(encrypted, ring), renew(encrypted, ring)) == (14 * 3, 0)
    del keys[1]
    check()
    assert encrypted.revision() == before, "copies need not read it again"
    with engine.begin() as connection:
        stolen = connection.scalar(select(templates.c.vector).where(templates.c.person_id == "p50"))
        connection.execute(update(templates).where(templates.c.person_id == "p0").values(vector=stolen))
    with pytest.raises(CannotDecrypt):
        encrypted.templates_of("p0", D)


def test_nothing_tells_who_was_removed(gallery, engine):
    for person in ("anna", "bob", "carl"):
        gallery.enroll(person, [photo("1")], ())
    gallery.remove("anna")
    gallery.enroll("bob", [], ())
    with engine.connect() as connection:
        rows = [row for table in metadata.sorted_tables for row in connection.execute(select(table))]
    assert "carl" in str(rows) and "anna" not in str(rows) and "bob" not in str(rows)


@pytest.mark.parametrize("seed", range(3))
def test_copies_in_memory_learn_of_removals(gallery, seed):
    """Also of people who share a bucket with others, or come back between two looks."""
    dice = random.Random(seed)
    indexes = LocalIndexes(gallery, new_exact_index)
    names = [f"p{number}" for number in range(3000) if bucket_of(f"p{number}") % 512 == 0]  # several a bucket
    there = set()
    for _ in range(40):
        for name in dice.sample(names, dice.choice((1, 3))):
            if dice.random() < 0.5:
                gallery.enroll(name, [photo("1", names.index(name))], ())
                there.add(name)
            else:
                gallery.remove(name)
                there.discard(name)
        index = indexes.current(D, 128)
        assert len(index) == len(there)
        probes = np.stack([photo("1", names.index(name)).vectors[D] for name in names])
        assert {hit.person_id for hits in index.search(probes, Metric.COSINE, 1e-6) for hit in hits} == there


def test_dropping_everything_begins_a_new_epoch(gallery):
    for number in range(1100):
        gallery.enroll(f"person {number}", [photo("1", models=(D, A))], ())
    before = gallery.revision()
    assert gallery.drop_all() == 2200
    assert gallery.revision().epoch != before.epoch
    assert photos_of(gallery.everything(D)) == {}
    assert gallery.unenrolled(["person 7"], [D]) == ["person 7"]
    assert gallery.drop_all() == 0


def test_a_model_is_added_to_photos_that_stay(gallery):
    gallery.enroll("anna", [photo("1"), photo("2"), photo("3")], ())
    assert gallery.enroll("anna", [photo("1", 5, (A,)), photo("2", 6, (A,))], (), changing=[A]) == 2
    stored = gallery.templates_of("anna", D)
    assert stored.photo_ids == ("1", "2")
    assert (stored.vectors[0] == photo("1").vectors[D]).all()
    assert gallery.templates_of("anna", A).photo_ids == ("1", "2")
    assert gallery.unenrolled(["anna"], [D, A]) == []
    gallery.enroll("anna", [photo("1", 7, (A,))], {"2"}, changing=[A])  # once more: that template alone is another
    assert (gallery.templates_of("anna", A).vectors[0] == photo("1", 7, (A,)).vectors[A]).all()
    assert gallery.templates_of("anna", D).photo_ids == ("1", "2")


def test_templates_of_models_that_are_used_no_more_are_dropped(gallery):
    for number in range(450):
        gallery.enroll(f"person {number}", [photo("1", models=(D, A)), photo("2", models=(D, A))], ())
    gallery.enroll("nobody of the other", [photo("1")], ())
    index = LocalIndexes(gallery, new_exact_index)
    assert len(index.current(A, 128)) == 900
    before = gallery.revision()
    assert drop_others(gallery, ["Dlib"]) == 900
    assert photos_of(gallery.everything(A)) == {}
    assert len(index.current(A, 128)) == 0
    assert len(index.current(D, 128)) == 901
    assert gallery.unenrolled(["person 7"], [D]) == []
    assert gallery.unenrolled(["person 7"], [D, A]) == ["person 7"]
    assert gallery.revision().epoch == before.epoch
    assert drop_others(gallery, ["Dlib"]) == 0


def test_many_templates_stream_in_batches(gallery):
    for person in range(30):
        photos = [photo(f"{number:04}", number) for number in range(300)]
        gallery.enroll(f"person {person:02}", photos, ())
    batches = list(gallery.everything(D))
    assert len(batches) > 1
    assert [len(those) for those in merged(batches).values()] == [300] * 30
    assert (merged(batches)["person 07"].vectors[250] == photo("0250", 250).vectors[D]).all()


def test_enrollments_of_several_processes_come_one_after_the_other(engine):
    copies = [Gallery(lambda: engine) for _ in range(4)]  # each makes the tables if it is the first
    begin = threading.Barrier(4)

    def enroll(number):
        begin.wait()
        for turn in range(10):
            copies[number].enroll("anna", [photo(f"{number}-{turn}-{part}") for part in range(3)], ())
            copies[number].enroll(f"own {number}", [photo(str(turn))], ())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enroll, range(4)))
    anna = copies[0].templates_of("anna", D).photo_ids
    assert len(anna) == 3
    assert len({name.rsplit("-", 1)[0] for name in anna}) == 1
    assert copies[0].revision().number == 80


def test_a_follower_never_misses_a_change(gallery):
    """Changes are committed in the order of their revisions, so nothing appears behind a follower's back."""
    done = threading.Event()
    seen = {}

    def follow():
        number, last = 0, False
        while not last:
            last = done.is_set()
            now = gallery.revision()
            for batch in gallery.changes_since(number, D):
                seen.update({person: those.photo_ids for person, those in batch.items()})
            number = now.number

    def write(writer):
        for turn in range(25):
            gallery.enroll(f"person {writer} {turn % 5}", [photo(f"{turn}")], ())

    gallery.revision()
    with ThreadPoolExecutor(4) as pool:
        follower = pool.submit(follow)
        list(pool.map(write, range(3)))
        done.set()
        follower.result()
    assert seen == photos_of(gallery.everything(D))


def test_a_failed_change_leaves_the_old_state(gallery):
    gallery.enroll("anna", [photo("1")], ())
    before = gallery.revision()
    broken = [photo("2"), photo("2")]  # the same key twice
    with pytest.raises(DatabaseRefused):
        gallery.enroll("anna", broken, ())
    assert gallery.templates_of("anna", D).photo_ids == ("1",)
    assert gallery.revision() == before


def test_tables_that_were_dropped_are_made_again(gallery, engine):
    gallery.enroll("anna", [photo("1")], ())
    before = gallery.revision()
    metadata.drop_all(engine)
    with pytest.raises(DatabaseRefused):
        gallery.revision()
    assert gallery.revision().epoch != before.epoch
    assert gallery.enroll("anna", [photo("2")], ()) == 1


def test_a_lost_connection_heals(mysql_url):
    engine, other = open_engine(make_url(mysql_url)), open_engine(make_url(mysql_url))
    gallery = Gallery(lambda: engine)
    gallery.enroll("anna", [photo("1")], ())
    with engine.connect() as pooled:
        number = pooled.scalar(text("SELECT CONNECTION_ID()"))
    with other.connect() as connection:
        connection.execute(text(f"KILL {number}"))
    assert gallery.enroll("anna", [photo("2")], {"1"}) == 2
    engine.dispose()
    other.dispose()


def test_an_unreachable_database_is_said_to_be_so(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    engine = open_engine(make_url(f"sqlite:///{tmp_path}/here.db"))
    (tmp_path / "here.db").mkdir()
    gallery = Gallery(lambda: engine)
    with pytest.raises(DatabaseUnavailable):
        gallery.revision()
    (tmp_path / "here.db").rmdir()
    assert gallery.revision().number == 0
