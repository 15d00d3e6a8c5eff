"""The SQL tables of the gallery. The gateway's own table of persons is another one, which this service never reads."""

from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import VARCHAR

from services.common.schema import Schema

metadata = MetaData()


def _identifier(length: int) -> String:
    """Text that is compared letter by letter, as SQLite does of itself."""
    exact = VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(exact, "mysql", "mariadb")


#: One row per photo and model.
templates = Table(
    "reco_templates",
    metadata,
    Column("person_id", _identifier(255), primary_key=True),
    Column("photo_id", _identifier(255), primary_key=True),
    Column("model", _identifier(64), primary_key=True),  # "<name>:<version>"
    Column("augmented", Boolean, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32, little endian, as the network gives it
)

#: One row per person who has templates.
people = Table(
    "reco_galleries",
    metadata,
    Column("person_id", _identifier(255), primary_key=True),
    Column("revision", BigInteger, nullable=False, unique=True),  # of the person's last change
    Column("models", Text, nullable=False),  # keys of the models that have a template of every photo, one a line
)

#: One row per bucket (buckets.py) that somebody was removed from: all that is kept of whoever is removed.
removals = Table(
    "reco_removals",
    metadata,
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),  # of the last removal
)

#: A single row (id 1).
revisions = Table(
    "reco_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),  # drawn anew when all templates are dropped
    Column("number", BigInteger, nullable=False),  # goes up with every change
)

#: One row per collection in a vector database (search/milvus); none where the index is in-process.
collections = Table(
    "reco_collections",
    metadata,
    Column("name", _identifier(64), primary_key=True),
    Column("place", _identifier(64), nullable=False),  # which vector database
    Column("model", _identifier(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),  # with `number` the state of the gallery that it holds
    Column("number", BigInteger, nullable=False),
    Column("searched", Boolean, nullable=False),  # one a place and model; others are being filled, or to be dropped
    Column("touched", BigInteger, nullable=False),  # when it was last written to while filled, in seconds since 1970
)

SCHEMA = Schema(metadata, Path(__file__).parent / "versions", "reco_templates_schema")
