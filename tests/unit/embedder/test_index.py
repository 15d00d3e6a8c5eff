"""The index of one process, with blocks so small that a few hundred templates fill several of them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from services.embedder.gallery.templates import no_templates
from services.embedder.matching import Metric, distances, unit
from services.embedder.search.codes import candidates, empty_block, to_probe
from services.embedder.search.index import to_rows
from tests.index_contract import NO_LIMIT, IndexContract, brute_force, faces, templates
from tests.indexes import new_exact_index


class TestExactIndex(IndexContract):
    @pytest.fixture
    def new_index(self):
        return new_exact_index


def new_block(people):
    """A full block of all their templates."""
    rows = to_rows(people)
    center = unit(rows.vectors).mean(axis=0).astype(np.float32)
    return empty_block(len(rows), center, None).extended(rows)


def test_people_whose_hashes_collide_are_told_apart():
    """The index looks for a person's rows by 32 bits of their id's hash, which some of 300,000 names have in common."""
    seen: dict[int, str] = {}
    names = (f"p{number}" for number in range(300_000))
    pairs = [(seen[bits], name) for name in names if seen.setdefault(bits := hash(name) % 2**32, name) != name]
    assert pairs  # 10 of them, give or take
    rng = np.random.default_rng(7)
    people = {name: templates(faces(rng, 3)) for pair in pairs for name in pair}
    index = new_exact_index(32)
    index.apply(people)
    for gone, _ in pairs:
        index.apply({gone: no_templates()})
        people.pop(gone, None)
    probes = faces(rng, 5)
    assert index.search(probes, Metric.COSINE, 2.0) == brute_force(people, probes, Metric.COSINE, 2.0)
    assert len(index) == 3 * len(people)


def test_files_of_the_forgotten_are_given_back(tmp_path):
    index = new_exact_index(32, tmp_path)
    rng = np.random.default_rng(8)
    for turn in range(100):
        index.apply({f"p{turn % 5}": templates(faces(rng, 20))})
    assert len(index) == 100
    assert list(tmp_path.iterdir()) == []  # the files have no names
    descriptors = [path for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)]
    files = [path for path in descriptors if os.readlink(path).startswith(str(tmp_path))]
    assert 0 < sum(path.stat().st_size for path in files) <= 5 * 64 * (4 * 32 + 20)


@pytest.mark.parametrize("dimension", [1, 2, 3, 32])
@pytest.mark.parametrize("metric", [Metric.EUCLIDEAN, Metric.EUCLIDEAN_L2])
def test_no_candidate_is_nearer_than_is_promised(metric, dimension):
    """In few dimensions errors of codes and digits often point the same way: the bounds are all but reached."""
    rng = np.random.default_rng(dimension)
    block = new_block({f"p{number}": templates(1 + rng.normal(size=(10, dimension))) for number in range(20)})
    for probe in (1 + rng.normal(size=(400, dimension))).astype(np.float32):
        candidate = candidates(block, to_probe(probe), raw=metric is Metric.EUCLIDEAN, limit=NO_LIMIT)
        found, _ = candidate.read()
        assert candidate.at_least <= (distances(metric, probe[None], found.vectors) ** 2).min()


@pytest.mark.parametrize("metric", Metric)
def test_the_longest_templates_at_the_ends_of_the_codes(metric):
    """32 bits must hold the sums of their products."""
    rng = np.random.default_rng(10)
    signs = np.where(np.arange(20) % 2, 1, -1)[:, None]
    vectors = signs * (1 + 0.01 * rng.normal(size=(20, 8192)))
    people = {f"p{number}": templates(vector[None]) for number, vector in enumerate(vectors)}
    index = new_exact_index(8192)
    index.add(people)
    probes = (vectors[:4] + 0.01 * rng.normal(size=(4, 8192))).astype(np.float32)
    assert index.search(probes, metric, NO_LIMIT) == brute_force(people, probes, metric, NO_LIMIT)


def test_codes_leave_few_candidates():
    """Hardly anything is read from the files."""
    rng = np.random.default_rng(10)
    people = {f"p{name}": templates(faces(rng, 4)) for name in range(500)}
    block, read = new_block(people), 0
    for those in list(people.values())[:50]:
        waiting = [candidates(block, to_probe(those.vectors[0] * np.float32(1.1)), raw=False, limit=0.6)]
        while waiting:
            found, waiting = waiting[0].read()
            read += len(found)
    assert 50 <= read < 50 * 4


def test_searches_give_back_as_many_references_as_they_take():
    """The library that multiplies once gave one to None too many, which ends a process after some thousand searches."""
    index = new_exact_index(32)
    probes = faces(np.random.default_rng(12), 200)
    index.add({"anna": templates(probes)})
    before = sys.getrefcount(None)
    index.search(probes, Metric.COSINE, 1.0)
    assert abs(sys.getrefcount(None) - before) < 50
