"""Indexes in Milvus, for more templates than one machine holds: a cluster, or Milvus Lite in a file.

pymilvus is imported in this folder only, and that only where VECTOR_URI is set.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from services.embedder.gallery.templates import Templates
from services.embedder.matching import Metric
from services.embedder.search.certain import Candidates, nearest
from services.embedder.search.index import Hit, IndexUnavailable, Rows, to_rows
from services.embedder.search.milvus import fields
from services.embedder.search.milvus.question import Question
from services.embedder.search.milvus.reach import Reach

#: Seconds that Milvus may take for a search or a write, and for making, loading or flushing a collection. The former must
#: stay well below services.common.database.LOCK_TIMEOUT, because changes are written under a lock of the database.
TIMEOUT = 5
LONG_TIMEOUT = 120
#: A server that is back is found within a second.
GRPC_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}
#: What its client raises; of a call that takes too long, gRPC's own error.
FAILURES = (MilvusException, grpc.RpcError)
#: What it says where that happened, and how often a search is tried then.
CHANGED, FETCHES = "incomplete query result", 8
#: Where Milvus listens if its address does not say so.
DEFAULT_PORT = 19530
#: Milvus' codes for a collection that it does not have, and for what it does not know.
NOT_FOUND, INVALID = 100, 1100

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


class _Changed(IndexUnavailable):
    """What a search found was deleted before it could be read."""


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
        address = urlsplit(uri)
        self._reach = Reach(None if self.is_file else (address.hostname or "", address.port or DEFAULT_PORT))
        #: Milvus Lite leaves it to its callers that nobody reads while somebody writes.
        self.turn: AbstractContextManager[object] = threading.RLock() if self.is_file else nullcontext()
        for name in ("pymilvus", "milvus_lite"):  # they print traces of what is raised as well
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def client(self) -> MilvusClient:
        """The connected client, of a server that may be expected to answer."""
        self._reach.require()
        with self._connecting:
            if self._client is None:
                if self.is_file:
                    Path(self._uri).parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._client = MilvusClient(
                        self._uri, token=self._token, timeout=TIMEOUT, grpc_options=GRPC_OPTIONS
                    )
                except FAILURES as err:
                    self._reach.failed()
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
            except FAILURES as err:
                self._loaded.clear()  # it may have been started anew
                if isinstance(err, MilvusException) and err.code == NOT_FOUND:
                    raise CollectionGone(f"the vector database: {_message(err)}") from err
                self._reach.failed()
                raise IndexUnavailable(f"the vector database: {_message(err)}") from err
            self._reach.answered()

    def create(self, name: str, dimension: int, description: str) -> None:
        """Makes an empty collection."""
        schema, of_vectors = fields.schema(dimension, description)
        with self.call() as client:
            client.create_collection(name, schema=schema, consistency_level="Strong", timeout=LONG_TIMEOUT)
            # Not waited for, half a second each: in an empty collection there is nothing to be indexed yet.
            client.create_index(name, of_vectors, timeout=LONG_TIMEOUT, sync=False)
            for known in fields.OWNER_INDEXES:
                try:
                    client.create_index(name, fields.owner_index(known), timeout=LONG_TIMEOUT, sync=False)
                    break
                except MilvusException as err:
                    if err.code != INVALID or known == fields.OWNER_INDEXES[-1]:
                        raise

    def open(self, name: str) -> "MilvusIndex":
        """A collection to be searched; raises CollectionGone too where it was made by another version of this program."""
        if name not in self._loaded:
            with self.call() as client:
                if not fields.are_in(client.describe_collection(name, timeout=TIMEOUT)):
                    raise CollectionGone("a collection of an earlier version")
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
            held = self._keys(client, changes)
            gone = set(held)
            for entities in fields.to_entities(to_rows(changes)):
                if new := [entity for entity in entities if entity["key"] not in held]:
                    client.insert(self.name, new, timeout=TIMEOUT)
                gone -= {entity["key"] for entity in entities}
            for keys in _slices(sorted(gone), MAX_KEYS):
                client.delete(self.name, ids=keys, timeout=TIMEOUT)

    def people_of(self, bucket: int) -> set[str]:
        with self._milvus.call() as client:
            return self._owners(client, f"{bucket:03x}")

    def search(self, probes: np.ndarray, metric: Metric, threshold: float, people: int = 1) -> list[list[Hit]]:
        hits: list[list[Hit]] = []
        size = 1 if self._milvus.is_file else PROBE_BATCH
        with self._milvus.turn:
            for start in range(0, len(probes), size):
                some = probes[start : start + size]
                questions = [Question(probe, metric) for probe in some]
                first = map(self._first, questions, self._fetch(questions, FIRST_CANDIDATES))
                hits += [
                    nearest(probe, metric, threshold, [one], people) for probe, one in zip(some, first, strict=True)
                ]
        return hits

    def _first(self, question: Question, found: "Found") -> Candidates:
        """All templates: those that were fetched, and the others behind them."""
        rows = _rows(found)

        def read() -> tuple[Rows, list[Candidates]]:
            if len(found) < FIRST_CANDIDATES:
                return rows, []
            return rows, self._behind(question, found, question.parts(rows))

        return Candidates(0, read)

    def _within(self, question: Question, at_least: float, part: fields.Part) -> Candidates:
        """Templates of a part: the most promising, and the others in each half of it."""

        def read() -> tuple[Rows, list[Candidates]]:
            found = self._fetch([question], self._most, part.filter())[0]
            rest = self._behind(question, found, part.halves()) if len(found) == self._most else []
            return _rows(found), rest

        return Candidates(at_least, read)

    def _behind(self, question: Question, found: "Found", parts: Sequence[fields.Part]) -> list[Candidates]:
        """What is in these parts behind the found ones."""
        cosine = float(found[-1]["distance"])
        return [self._within(question, question.at_least(cosine, part), part) for part in parts]

    def _fetch(self, questions: Sequence[Question], most: int, where: str = "") -> list["Found"]:
        """The candidates for each question, most promising first, as Milvus sees it."""
        for _ in range(FETCHES - 1):
            with suppress(_Changed):
                return self._fetch_once(questions, most, where)
        return self._fetch_once(questions, most, where)

    def _fetch_once(self, questions: Sequence[Question], most: int, where: str) -> list["Found"]:
        with self._milvus.call() as client:
            try:
                found: list[Found] = client.search(
                    self.name,
                    data=[question.vector for question in questions],
                    anns_field=fields.VECTOR,
                    filter=where,
                    limit=most,
                    output_fields=["person_id", "photo_id", fields.VECTOR],
                    consistency_level="Strong",
                    timeout=TIMEOUT,
                )
            except MilvusException as err:
                if CHANGED not in err.message:
                    raise
                raise _Changed(f"the vector database: {_message(err)}") from err
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


def _rows(found: Found) -> Rows:
    return fields.from_entities([one["entity"] for one in found])


def _message(err: Exception) -> str:
    text = err.details() if isinstance(err, grpc.RpcError) else getattr(err, "message", str(err))
    return " ".join(f"{type(err).__name__} {text}".split())[:300]


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
