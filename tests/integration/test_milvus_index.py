"""The index in Milvus, Lite and a real server: all that its single precision leaves in question is compared again."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from services.embedder.gallery.templates import Templates, no_templates
from services.embedder.matching import Metric
from services.embedder.search.index import Hit, IndexUnavailable
from tests.index_contract import IndexContract
from tests.milvus import require_milvus

require = pytest.fixture(require_milvus, autouse=True)


def same_faces(count: int) -> Templates:
    ids = tuple(f"{number:03}.png" for number in range(count))
    return Templates(ids, np.zeros(count, dtype=bool), np.ones((count, 32), dtype=np.float32))


class TestMilvusIndex(IndexContract):
    effort = 0.1  # Milvus takes a hundred times as long
    changes_at_once = False

    @pytest.fixture
    def new_index(self, new_milvus_index):
        return new_milvus_index


@pytest.mark.parametrize("metric", Metric)
def test_more_ties_than_are_fetched_at_once(milvus, new_milvus_index, metric):
    from services.embedder.search.milvus.index import MilvusIndex

    index = MilvusIndex(milvus, new_milvus_index(32).name, most=64)
    index.add({f"p{number:03}": same_faces(3) for number in range(100)})
    probe = np.ones((1, 32), dtype=np.float32)
    for number in range(0, 100, 7):
        everybody = [Hit(f"p{other:03}", "000.png", 0.0) for other in range(number, 100)]
        assert index.search(probe, metric, 0.1) == [everybody]
        index.apply({f"p{other:03}": no_templates() for other in range(number, number + 7)})


def test_the_best_of_many_that_differ_in_the_last_bit(new_milvus_index):
    """In single precision they are all as far away; the nearest is none of the first."""
    far = np.random.default_rng(1).normal(size=32).astype(np.float32)
    vectors = np.repeat(far[None], 200, axis=0)
    vectors[:, 0] = np.nextafter(far[0], np.float32(9) * np.sign(far[0]))
    vectors[150, 0] = np.nextafter(far[0], np.float32(0))
    index = new_milvus_index(32)
    index.add(
        {f"p{number:03}": Templates(("x",), np.zeros(1, bool), vector[None]) for number, vector in enumerate(vectors)}
    )
    probe = -far[None]
    assert index.search(probe, Metric.EUCLIDEAN, 1e9)[0][0].person_id == "p150"


def test_a_file_that_another_process_has_open_is_refused(tmp_path):
    from services.embedder.search.milvus.index import Milvus

    milvus = Milvus(str(tmp_path / "vectors.db"))
    milvus.check()
    code = f"from services.embedder.search.milvus.index import Milvus\nMilvus({str(tmp_path / 'vectors.db')!r}).check()"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "IndexUnavailable" in other.stderr
    assert "one process at a time may open a file" in other.stderr
    milvus.close()


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path):
    from services.embedder.search.milvus.index import Milvus
    from tests.machine import free_port

    milvus = Milvus(f"http://127.0.0.1:{free_port()}")
    for use in (milvus.check, lambda: milvus.open("x"), lambda: milvus.create("x", 2, ""), lambda: milvus.drop("x")):
        with pytest.raises(IndexUnavailable, match="vector database"):
            use()


def test_only_who_chooses_milvus_loads_its_client():
    code = "import sys, services.embedder.server; sys.exit('pymilvus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_a_server_that_does_not_answer_is_waited_for_once(tmp_path):
    """It listens and says nothing: the first caller waits for it, the next ones are refused without waiting."""
    from services.embedder.search.milvus.reach import Reach

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        reach = Reach(silent.getsockname())
        reach.require()
        reach.failed()
        with pytest.raises(IndexUnavailable, match="a moment ago"):
            reach.require()
        reach.answered()
        reach.require()


def test_after_a_failure_one_caller_tries_and_the_others_do_not():
    from services.embedder.search.milvus.reach import TRUSTED, TRYING, Reach

    now = [100.0]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        reach = Reach(silent.getsockname(), clock=lambda: now[0])
        reach.failed()
        now[0] += TRUSTED
        reach.require()
        for later in (0.0, TRYING - 0.1):
            now[0] += later
            with pytest.raises(IndexUnavailable):
                reach.require()
        now[0] += 0.1
        reach.require()


def test_where_nobody_listens_it_is_said_at_once():
    from services.embedder.search.milvus.reach import Reach
    from tests.machine import free_port

    with pytest.raises(IndexUnavailable, match="cannot be reached"):
        Reach(("127.0.0.1", free_port())).require()


def test_a_collection_of_an_earlier_version_is_none(milvus):
    from pymilvus import DataType, MilvusClient

    from services.embedder.search.milvus.index import CollectionGone

    earlier = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    earlier.add_field("key", DataType.VARCHAR, max_length=32, is_primary=True)
    earlier.add_field("raw", DataType.FLOAT_VECTOR, dim=2)
    with milvus.call() as client:
        client.create_collection("earlier", schema=earlier)
    with pytest.raises(CollectionGone):
        milvus.open("earlier")
    milvus.drop("earlier")
