"""How Milvus stores a template: the fields of a collection, and filters on them.

Filters are made of digests and nothing else: no id of a person or photo gets into the text of one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from services.embedder.gallery.buckets import owner_digest
from services.embedder.search.index import Rows

#: A template as it is, whose direction Milvus compares, and its length, from which raw distances follow: servers up to 2.3
#: have room for one vector.
VECTOR, LENGTH = "vector", "length"
#: Bytes of an id of up to 255 characters.
ID_BYTES = 4 * 255
#: Bytes of vectors sent at once; Milvus takes messages of 64 MB.
WRITE_BYTES = 8 << 20
#: Digests of 16 bytes, as numbers, are below this; and they have so many hexadecimal digits.
KEYS_END = 1 << 128
DIGITS = 32


#: What an index of texts is called: from version 2.4 on and in Milvus Lite, and before.
OWNER_INDEXES = ("INVERTED", "Trie")


def schema(dimension: int, description: str) -> tuple[CollectionSchema, IndexParams]:
    """The fields of a collection, and the index of its vectors."""
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    fields.add_field("key", DataType.VARCHAR, max_length=32, is_primary=True)
    fields.add_field("owner", DataType.VARCHAR, max_length=32)
    fields.add_field("person_id", DataType.VARCHAR, max_length=ID_BYTES)
    fields.add_field("photo_id", DataType.VARCHAR, max_length=ID_BYTES)
    fields.add_field(LENGTH, DataType.DOUBLE)
    fields.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
    return fields, _index(VECTOR, index_type="FLAT", metric_type="COSINE")  # compares with every vector: exact


def are_in(collection: Mapping[str, Any]) -> bool:
    """Whether a collection, as it is described, has the fields of this version."""
    return {VECTOR, LENGTH} <= {field["name"] for field in collection["fields"]}


def owner_index(index_type: str) -> IndexParams:
    """An index of whose the templates are, by one of OWNER_INDEXES."""
    return _index("owner", index_type=index_type)


def _index(field: str, **how: str) -> IndexParams:
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index(field, **how)
    return indexes


def to_entities(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    """Templates as Milvus takes them, as many at a time as may be sent."""
    size = max(1, WRITE_BYTES // (4 * max(1, rows.vectors.shape[1])))
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield list(map(_entity, some.ids, some.vectors, lengths(some).tolist()))


def from_entities(entities: Sequence[Mapping[str, Any]]) -> Rows:
    """Templates of which `person_id`, `photo_id` and VECTOR were fetched."""
    ids = [(entity["person_id"], entity["photo_id"]) for entity in entities]
    return Rows(np.array([entity[VECTOR] for entity in entities], dtype=np.float32), ids)


def lengths(rows: Rows) -> np.ndarray:
    """float64 (n,): of the templates."""
    norms: np.ndarray = np.linalg.norm(rows.vectors.astype(np.float64), axis=1)
    return norms


def _entity(ids: tuple[str, str], vector: np.ndarray, length: float) -> dict[str, Any]:
    person_id, photo_id = ids
    owner = owner_digest(person_id)
    # Other templates of a photo are other rows, so that they can be there before the earlier ones go.
    key = blake2b(owner.encode() + photo_id.encode() + vector.tobytes(), digest_size=16).hexdigest()
    entity = {"key": key, "owner": owner, "person_id": person_id, "photo_id": photo_id}
    return {**entity, LENGTH: length, VECTOR: vector}


def of_people(person_ids: Iterable[str]) -> str:
    """A filter for what is stored of these people."""
    return "owner in [" + ", ".join(f'"{owner_digest(person_id)}"' for person_id in person_ids) + "]"


def of_digits(digits: str) -> str:
    """A filter for what is stored of the people whose digests (gallery/buckets.py) begin with these digits."""
    return f'owner like "{digits}%"'


@dataclass(frozen=True)
class Part:
    """Templates of a collection: with keys and lengths from the first of two numbers up to, and without, the second."""

    keys: tuple[int, int] = (0, KEYS_END)
    lengths: tuple[float, float] = (0.0, math.inf)

    def filter(self) -> str:
        """Selects it."""
        low, high = self.keys
        shortest, longest = self.lengths
        tests = [f'key >= "{low:032x}"']
        if high < KEYS_END:
            tests.append(f'key < "{high:032x}"')
        if shortest > 0:
            tests.append(f"{LENGTH} >= {shortest!r}")
        if longest < math.inf:
            tests.append(f"{LENGTH} < {longest!r}")
        return " and ".join(tests)

    def halves(self) -> "Sequence[Part]":
        """It in two, by key."""
        low, high = self.keys
        middle = (low + high) // 2
        return replace(self, keys=(low, middle)), replace(self, keys=(middle, high))

    def thirds(self, shortest: float, longest: float) -> "Sequence[Part]":
        """It in three: what is shorter than `shortest`, what is of these lengths, what is longer."""
        low, high = self.lengths
        spans = ((low, shortest), (shortest, longest), (longest, high))
        return [replace(self, lengths=span) for span in spans]
