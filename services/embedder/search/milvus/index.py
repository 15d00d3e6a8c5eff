"""Indexes in Milvus, for more templates than one machine holds: a cluster, or Milvus Lite in a file.

pymilvus is imported in this folder only, and that only where VECTOR_URI is set.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from services.embedder.gallery.templates import Templates
from services.embedder.matching import Metric, unit
from services.embedder.search.certain import Candidates, nearest
from services.embedder.search.index import Hit, IndexUnavailable, Rows, to_rows
from services.embedder.search.milvus import fields

#: Seconds that Milvus may take for a search or a write, and for making, loading or flushing a collection. The former must
#: stay well below services.common.database.LOCK_TIMEOUT, because changes are written under a lock of the database.
TIMEOUT = 5
LONG_TIMEOUT = 120
#: A server that is back is found within a second.
GRPC_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}
#: Milvus' code for a collection that it does not have.
NOT_FOUND = 100

#: Keys named in one filter or deletion.
MAX_KEYS = 512

#: Probes searched at a time; Milvus Lite keeps a copy of all vectors for each.
PROBE_BATCH = 16
#: Rows fetched at most of the people whose digests begin alike; where there are more, more digits are looked at.
MAX_ROWS = 8192
#: Candidates fetched for a probe at first.
FIRST_CANDIDATES = 8


class CollectionGone(IndexUnavailable):
    """There is no such collection: it was replaced, or the vector database was emptied."""


class Milvus:
    """A connection, made when it is first needed. Safe to use from several threads.

    Methods raise IndexUnavailable.
    """

    def __init__(self, uri: str, token: str = ""):
        """`uri`: http(s)://host:port of a cluster, or a path ending in .db, which one process at a time may open."""
        self._uri = uri
        self._token = token
        self._client: MilvusClient | None = None
        self._loaded: set[str] = set()
        self._connecting = threading.Lock()
        self.is_file = "://" not in uri
        #: Milvus Lite leaves it to its callers that nobody reads while somebody writes.
        self.turn: AbstractContextManager[object] = threading.RLock() if self.is_file else nullcontext()
        for name in ("pymilvus", "milvus_lite"):  # they print traces of what is raised as well
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def client(self) -> MilvusClient:
        """The connected client."""
        with self._connecting:
            if self._client is None:
                if self.is_file:
                    Path(self._uri).parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._client = MilvusClient(
                        self._uri, token=self._token, timeout=TIMEOUT, grpc_options=GRPC_OPTIONS
                    )
                except MilvusException as err:
                    only = "; one process at a time may open a file" if self.is_file else ""
                    raise IndexUnavailable(f"cannot open the vector database{only}: {_message(err)}") from err
            return self._client

    @contextmanager
    def call(self) -> Iterator[MilvusClient]:
        """The client, for calls whose errors become ours."""
        client = self.client()
        with self.turn:
            try:
                yield client
            except MilvusException as err:
                self._loaded.clear()  # it may have been started anew
                failure = CollectionGone if err.code == NOT_FOUND else IndexUnavailable
                raise failure(f"the vector database: {_message(err)}") from err

    def create(self, name: str, dimension: int, description: str) -> None:
        """Makes an empty collection."""
        schema, indexes = fields.schema(dimension, description)
        with self.call() as client:
            client.create_collection(name, schema=schema, consistency_level="Strong", timeout=LONG_TIMEOUT)
            # Not waited for, half a second each: in an empty collection there is nothing to be indexed yet.
            client.create_index(name, indexes, timeout=LONG_TIMEOUT, sync=False)

    def open(self, name: str) -> "MilvusIndex":
        """A collection to be searched."""
        if name not in self._loaded:
            with self.call() as client:
                client.load_collection(name, timeout=LONG_TIMEOUT)
            self._loaded.add(name)
        return MilvusIndex(self, name)

    def check(self) -> None:
        """Asks for an answer."""
        with self.call() as client:
            client.list_collections(timeout=TIMEOUT)

    def drop(self, name: str) -> None:
        """Deletes a collection, if it is there."""
        self._loaded.discard(name)
        with self.call() as client:
            client.drop_collection(name, timeout=LONG_TIMEOUT)

    def close(self) -> None:
        """Closes the connection."""
        if self._client:
            self._client.close()


class MilvusIndex:
    """An Index (index.py) in a collection of Milvus.

    Milvus compares in single precision; so that the result is that of comparing everything in double precision, all that
    its scores leave in question is fetched and compared anew. A search at the time of a change may see the photos that
    somebody had and those that they get, never neither.
    """

    def __init__(self, milvus: Milvus, name: str, most: int = 1024):
        """`most`: candidates fetched where the first few do not settle a search."""
        self.name = name
        self._milvus = milvus
        self._most = most

    def __len__(self) -> int:
        with self._milvus.call() as client:
            rows = client.query(
                self.name, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=TIMEOUT
            )
        return int(rows[0]["count(*)"])

    def add(self, people: Mapping[str, Templates]) -> None:
        with self._milvus.call() as client:
            for entities in fields.to_entities(to_rows(people)):
                client.insert(self.name, entities, timeout=TIMEOUT)

    def flush(self) -> None:
        """Has all that was added put where searches are quickest."""
        with self._milvus.call() as client:
            client.flush(self.name, timeout=LONG_TIMEOUT)

    def apply(self, changes: Mapping[str, Templates]) -> None:
        with self._milvus.call() as client:
            gone = self._keys(client, changes)
            for entities in fields.to_entities(to_rows(changes)):
                client.upsert(self.name, entities, timeout=TIMEOUT)
                gone -= {entity["key"] for entity in entities}
            for keys in _slices(sorted(gone), MAX_KEYS):
                client.delete(self.name, ids=keys, timeout=TIMEOUT)

    def people_of(self, bucket: int) -> set[str]:
        with self._milvus.call() as client:
            return self._owners(client, f"{bucket:03x}")

    def search(self, probes: np.ndarray, metric: Metric, threshold: float) -> list[list[Hit]]:
        hits: list[list[Hit]] = []
        size = 1 if self._milvus.is_file else PROBE_BATCH
        with self._milvus.turn:
            for start in range(0, len(probes), size):
                some = probes[start : start + size]
                questions = [_question(probe, metric) for probe in some]
                first = map(self._first, questions, self._fetch(questions, FIRST_CANDIDATES))
                hits += [nearest(probe, metric, threshold, [one]) for probe, one in zip(some, first, strict=True)]
        return hits

    def _first(self, question: "_Question", found: "Found") -> Candidates:
        """All templates: those that were fetched, and the others behind them."""
        everything = (0, fields.KEYS_END)
        return Candidates(0, lambda: (_rows(found), self._behind(question, found, FIRST_CANDIDATES, everything)))

    def _within(self, question: "_Question", at_least: float, low: int, high: int) -> Candidates:
        """Templates with keys from `low` up to, and without, `high`: the most promising, and the others in each half."""

        def read() -> tuple[Rows, list[Candidates]]:
            found = self._fetch([question], self._most, fields.between(low, high))[0]
            middle = (low + high) // 2
            return _rows(found), self._behind(question, found, self._most, (low, middle), (middle, high))

        return Candidates(at_least, read)

    def _behind(self, question: "_Question", found: "Found", most: int, *spans: tuple[int, int]) -> list[Candidates]:
        """What is in these spans of keys behind the found ones, if as many were found as had been asked for."""
        if len(found) < most:
            return []
        at_least = question.at_least(float(found[-1]["distance"]))
        return [self._within(question, at_least, low, high) for low, high in spans]

    def _fetch(self, questions: Sequence["_Question"], most: int, where: str = "") -> list["Found"]:
        """The candidates for each question, most promising first, as Milvus sees it."""
        with self._milvus.call() as client:
            found: list[Found] = client.search(
                self.name,
                data=[question.vector for question in questions],
                anns_field=questions[0].field,
                filter=where,
                limit=most,
                output_fields=["person_id", "photo_id", fields.RAW],
                consistency_level="Strong",
                timeout=TIMEOUT,
            )
        return found

    def _keys(self, client: MilvusClient, people: Mapping[str, Templates]) -> set[str]:
        """Keys of all that is stored of these people."""
        keys = set()
        for some in _slices(list(people), MAX_KEYS):
            rows = client.query(
                self.name, filter=fields.of_people(some), output_fields=["key"],
                consistency_level="Strong", timeout=TIMEOUT,
            )  # fmt: skip
            keys |= {row["key"] for row in rows}
        return keys

    def _owners(self, client: MilvusClient, digits: str) -> set[str]:
        """The people whose digests begin with these digits."""
        rows = client.query(
            self.name, filter=fields.of_digits(digits), output_fields=["person_id"], limit=MAX_ROWS,
            consistency_level="Strong", timeout=TIMEOUT,
        )  # fmt: skip
        if len(rows) < MAX_ROWS or len(digits) == fields.DIGITS:
            return {row["person_id"] for row in rows}
        return set().union(*(self._owners(client, digits + more) for more in "0123456789abcdef"))


#: What Milvus found, most promising first: a `distance`, and the fields that were asked for in `entity`.
Found = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Question:
    """What Milvus is asked: which templates have this vector nearest, float32 (d,), in this field."""

    field: str
    vector: np.ndarray

    def at_least(self, score: float) -> float:
        """What the squared distance of a template is no less than whose score this is.

        Scores are sums of d products in single precision: 16 roundings of 2^-24 a term are more than there can be, in the
        distance and the vector's own length. Templates more than twice as long as the vector are that much farther away.
        """
        slack = (len(self.vector) + 16) * 2.0**-20
        squared = score if self.field == fields.RAW else 2 - 2 * score
        own = float(np.square(self.vector.astype(np.float64)).sum())
        return (squared - slack * own) / (1 + slack)


def _question(probe: np.ndarray, metric: Metric) -> _Question:
    if metric is Metric.EUCLIDEAN:
        return _Question(fields.RAW, probe)
    return _Question(fields.DIRECTION, unit(probe[None])[0].astype(np.float32))


def _rows(found: Found) -> Rows:
    return fields.from_entities([one["entity"] for one in found])


def _message(err: MilvusException) -> str:
    return " ".join(f"{type(err).__name__} {err.message}".split())[:300]


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
