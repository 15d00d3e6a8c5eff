"""How Milvus stores a template: the fields of a collection, and filters on them.

Filters are made of digests and nothing else: no id of a person or photo gets into the text of one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from services.embedder.gallery.buckets import owner_digest
from services.embedder.matching import unit
from services.embedder.search.index import Rows

#: Vectors of a template: as it is, compared by L2; and at length 1, compared by the inner product.
RAW, DIRECTION = "raw", "direction"
#: Bytes of an id of up to 255 characters.
ID_BYTES = 4 * 255
#: Bytes of vectors sent at once; Milvus takes messages of 64 MB.
WRITE_BYTES = 8 << 20
#: Digests of 16 bytes, as numbers, are below this; and they have so many hexadecimal digits.
KEYS_END = 1 << 128
DIGITS = 32


def schema(dimension: int, description: str) -> tuple[CollectionSchema, IndexParams]:
    """The fields of a collection, and what of them is indexed."""
    fields = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    fields.add_field("key", DataType.VARCHAR, max_length=32, is_primary=True)
    fields.add_field("owner", DataType.VARCHAR, max_length=32)
    fields.add_field("person_id", DataType.VARCHAR, max_length=ID_BYTES)
    fields.add_field("photo_id", DataType.VARCHAR, max_length=ID_BYTES)
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("owner", index_type="INVERTED")
    for field, metric in ((RAW, "L2"), (DIRECTION, "IP")):
        fields.add_field(field, DataType.FLOAT_VECTOR, dim=dimension)
        indexes.add_index(field, index_type="FLAT", metric_type=metric)  # compares with every vector: exact
    return fields, indexes


def to_entities(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    """Templates as Milvus takes them, as many at a time as may be sent."""
    size = max(1, WRITE_BYTES // (8 * max(1, rows.vectors.shape[1])))
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield list(map(_entity, some.ids, some.vectors, unit(some.vectors).astype(np.float32)))


def from_entities(entities: Sequence[Mapping[str, Any]]) -> Rows:
    """Templates of which `person_id`, `photo_id` and RAW were fetched."""
    ids = [(entity["person_id"], entity["photo_id"]) for entity in entities]
    return Rows(np.array([entity[RAW] for entity in entities], dtype=np.float32), ids)


def _entity(ids: tuple[str, str], vector: np.ndarray, direction: np.ndarray) -> dict[str, Any]:
    person_id, photo_id = ids
    owner = owner_digest(person_id)
    key = _digest(owner + photo_id)
    return {"key": key, "owner": owner, "person_id": person_id, "photo_id": photo_id, RAW: vector, DIRECTION: direction}


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def of_people(person_ids: Iterable[str]) -> str:
    """A filter for what is stored of these people."""
    return "owner in [" + ", ".join(f'"{owner_digest(person_id)}"' for person_id in person_ids) + "]"


def of_digits(digits: str) -> str:
    """A filter for what is stored of the people whose digests (gallery/buckets.py) begin with these digits."""
    return f'owner like "{digits}%"'


def between(low: int, high: int) -> str:
    """A filter for keys from `low` up to, and without, `high`."""
    return f'key >= "{low:032x}"' + (f' and key < "{high:032x}"' if high < KEYS_END else "")
