"""Indexes in Milvus, for more templates than one machine holds: a cluster, or Milvus Lite in a file.

pymilvus is imported here only, and this module only where VECTOR_URI is set. Filters are made of digests and nothing else:
no id of a person or photo gets into the text of one.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path

import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from services.embedder.gallery.templates import Templates
from services.embedder.matching import Metric, distances, unit
from services.embedder.search.index import Hit, IndexUnavailable

#: Seconds that Milvus may take for a search or a write, and for making, loading or flushing a collection. The former must
#: stay well below services.common.database.LOCK_TIMEOUT, because changes are written under a lock of the database.
TIMEOUT = 5
LONG_TIMEOUT = 120
#: A server that is back is found within a second.
GRPC_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}
#: Milvus' code for a collection that it does not have.
NOT_FOUND = 100

#: Vectors of a template: as it is, compared by L2; and at length 1, compared by the inner product.
RAW, DIRECTION = "raw", "direction"
#: Bytes of an id of up to 255 characters.
ID_BYTES = 4 * 255
#: Bytes of vectors sent at once; Milvus takes messages of 64 MB.
WRITE_BYTES = 8 << 20
#: Keys named in one filter or deletion.
MAX_KEYS = 512

#: Probes searched at a time; Milvus Lite keeps a copy of all vectors for each.
PROBE_BATCH = 16
#: Candidates fetched for a probe at first, and where these do not settle it.
FIRST_CANDIDATES = 8
MORE_CANDIDATES = 1024
#: Digests of 16 bytes, as numbers, are below this.
KEYS_END = 1 << 128


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
        self.is_file = is_file(uri)
        #: Milvus Lite leaves it to its callers that nobody reads while somebody writes.
        self.turn: AbstractContextManager = threading.RLock() if self.is_file else nullcontext()
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
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
        schema.add_field("key", DataType.VARCHAR, max_length=32, is_primary=True)
        schema.add_field("owner", DataType.VARCHAR, max_length=32)
        schema.add_field("person_id", DataType.VARCHAR, max_length=ID_BYTES)
        schema.add_field("photo_id", DataType.VARCHAR, max_length=ID_BYTES)
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("owner", index_type="INVERTED")
        for field, metric in ((RAW, "L2"), (DIRECTION, "IP")):
            schema.add_field(field, DataType.FLOAT_VECTOR, dim=dimension)
            indexes.add_index(field, index_type="FLAT", metric_type=metric)  # compares with every vector: exact
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

    def __init__(self, milvus: Milvus, name: str):
        self.name = name
        self._milvus = milvus

    def __len__(self) -> int:
        with self._milvus.call() as client:
            rows = client.query(
                self.name, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=TIMEOUT
            )
        return rows[0]["count(*)"]

    def add(self, people: Mapping[str, Templates]) -> None:
        with self._milvus.call() as client:
            for rows in _pieces(people):
                client.insert(self.name, rows, timeout=TIMEOUT)

    def flush(self) -> None:
        """Has all that was added put where searches are quickest."""
        with self._milvus.call() as client:
            client.flush(self.name, timeout=LONG_TIMEOUT)

    def apply(self, changes: Mapping[str, Templates]) -> None:
        with self._milvus.call() as client:
            gone = self._keys(client, changes)
            for rows in _pieces(changes):
                client.upsert(self.name, rows, timeout=TIMEOUT)
                gone -= {row["key"] for row in rows}
            for keys in _slices(sorted(gone), MAX_KEYS):
                client.delete(self.name, ids=keys, timeout=TIMEOUT)

    def search(self, probes: np.ndarray, metric: Metric, threshold: float) -> list[Hit | None]:
        if not len(probes):
            return []
        asked = probes if metric is Metric.EUCLIDEAN else unit(probes).astype(np.float32)
        size = 1 if self._milvus.is_file else PROBE_BATCH
        hits = []
        with self._milvus.turn:
            for start in range(0, len(probes), size):
                piece = slice(start, start + size)
                found = self._fetch(asked[piece], metric, FIRST_CANDIDATES)
                for probe, question, rows in zip(probes[piece], asked[piece], found, strict=True):
                    hits.append(self._nearest(_Nearest(probe, metric, threshold), question, rows))
        return hits

    def _nearest(self, nearest: "_Nearest", question: np.ndarray, rows: list[dict]) -> Hit | None:
        """Looks at the first candidates; where others may be as near, at more of them, and then at a half of them each."""
        nearest.look_at(rows)
        spans = [(0, KEYS_END)] if len(rows) == FIRST_CANDIDATES and nearest.may_be_beyond(rows[-1]) else []
        while spans:
            low, high = spans.pop()
            rows = self._fetch(question[None], nearest.metric, MORE_CANDIDATES, _between(low, high))[0]
            nearest.look_at(rows)
            if len(rows) == MORE_CANDIDATES and nearest.may_be_beyond(rows[-1]):
                middle = (low + high) // 2
                spans += [(low, middle), (middle, high)]
        return nearest.hit()

    def _fetch(self, questions: np.ndarray, metric: Metric, limit: int, where: str = "") -> list[list[dict]]:
        """The candidates for each question, most promising first, as Milvus sees it."""
        with self._milvus.call() as client:
            return client.search(
                self.name,
                data=list(questions),
                anns_field=RAW if metric is Metric.EUCLIDEAN else DIRECTION,
                filter=where,
                limit=limit,
                output_fields=["person_id", "photo_id", RAW],
                consistency_level="Strong",
                timeout=TIMEOUT,
            )

    def _keys(self, client: MilvusClient, people: Mapping[str, Templates]) -> set[str]:
        """Keys of all that is stored of these people."""
        keys = set()
        for owners in _slices([_owner(person_id) for person_id in people], MAX_KEYS):
            rows = client.query(
                self.name, filter=f"owner in {_listed(owners)}", output_fields=["key"],
                consistency_level="Strong", timeout=TIMEOUT,
            )  # fmt: skip
            keys |= {row["key"] for row in rows}
        return keys


class _Nearest:
    """The nearest of the candidates that were looked at."""

    def __init__(self, probe: np.ndarray, metric: Metric, threshold: float):
        self.metric = metric
        self._probe = probe
        self._threshold = threshold
        self._best: tuple[float, str, str] = (np.inf, "", "")
        squares = float(np.square(probe.astype(np.float64)).sum()) if metric is Metric.EUCLIDEAN else 1.0
        self._squares = squares
        # Sums of d products in single precision: 16 roundings of 2^-24 a term are more than there can be, in the distance
        # and the probe's own length. Templates more than twice as long as the probe are that much farther away.
        self._slack = (len(probe) + 16) * 2.0**-20

    def look_at(self, rows: Sequence[dict]) -> None:
        """Compares candidates in double precision."""
        if not rows:
            return
        entities = [row["entity"] for row in rows]
        stored = np.array([entity[RAW] for entity in entities], dtype=np.float32)
        exact = distances(self.metric, self._probe[None], stored)[0].tolist()
        found = zip(exact, entities, strict=True)
        self._best = min(self._best, *((distance, one["person_id"], one["photo_id"]) for distance, one in found))

    def may_be_beyond(self, last: dict) -> bool:
        """Whether a template that Milvus takes to be no nearer than `last` may be as near as the best, and match."""
        score = float(last["distance"])
        squared = score if self.metric is Metric.EUCLIDEAN else 2 - 2 * score
        limit = min(self._best[0], self._threshold)
        limit = 2 * limit if self.metric is Metric.COSINE else limit**2
        return squared <= limit + self._slack * (limit + self._squares)

    def hit(self) -> Hit | None:
        """The nearest, if it is within the threshold."""
        distance, person_id, photo_id = self._best
        return Hit(person_id, photo_id, distance) if np.isfinite(distance) and distance <= self._threshold else None


def is_file(uri: str) -> bool:
    """Whether VECTOR_URI names a file rather than a cluster."""
    return "://" not in uri


def _message(err: MilvusException) -> str:
    return " ".join(f"{type(err).__name__} {err.message}".split())[:300]


def _owner(person_id: str) -> str:
    return blake2b(person_id.encode(), digest_size=16).hexdigest()


def _key(owner: str, photo_id: str) -> str:
    return blake2b(f"{owner}{photo_id}".encode(), digest_size=16).hexdigest()


def _listed(digests: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{digest}"' for digest in digests) + "]"


def _between(low: int, high: int) -> str:
    """A filter for keys from `low` up to, and without, `high`."""
    return f'key >= "{low:032x}"' + (f' and key < "{high:032x}"' if high < KEYS_END else "")


def _pieces(people: Mapping[str, Templates]) -> Iterator[Sequence[dict]]:
    """The rows of these people, as many at once as may be sent."""
    those = [(person_id, templates) for person_id, templates in people.items() if len(templates)]
    if not those:
        return iter(())
    rows = [row for person_id, templates in those for row in _rows(person_id, templates)]
    return _slices(rows, max(1, WRITE_BYTES // (8 * len(rows[0][RAW]))))


def _rows(person_id: str, templates: Templates) -> list[dict]:
    owner = _owner(person_id)
    columns = zip(templates.photo_ids, templates.vectors, unit(templates.vectors).astype(np.float32), strict=True)
    return [
        {"key": _key(owner, photo_id), "owner": owner, "person_id": person_id, "photo_id": photo_id}
        | {RAW: vector, DIRECTION: direction}
        for photo_id, vector, direction in columns
    ]


def _slices(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[start : start + size] for start in range(0, len(items), size))
