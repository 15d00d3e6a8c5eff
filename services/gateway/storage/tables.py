"""The gateway's own SQL tables. The one of people beside them is the contract's: settings name it and its columns."""

from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from services.common.schema import Schema

MYSQL: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}

#: Characters that MySQL allows in a table's name.
MAX_TABLE_NAME = 64

RowId = BigInteger().with_variant(Integer, "sqlite")


class Tables:
    """Those beside one table of people: another one has others, but for keys, last uses and the journal."""

    def __init__(self, people_table: str):
        metadata = MetaData()
        name = partial(_name, people_table)
        self.profiles = Table(
            name("profiles"),
            metadata,
            Column("record_id", RowId, primary_key=True, autoincrement=False),
            Column("person_id", String(255), nullable=False),
            Column("stored_name", String(255), nullable=False),
            Column("display_name", String(255), nullable=False),
            Column("name_key", String(500), nullable=False, index=True),
            Column("external_id", String(255), nullable=False, index=True),
            Column("created_at", BigInteger, nullable=False, index=True),
            Column("updated_at", BigInteger, nullable=False),
            Column("request_id", String(64), nullable=False, index=True),
            Column("request_digest", String(64), nullable=False),
            **MYSQL,
        )
        self.labels = Table(
            name("labels"),
            metadata,
            Column("label", String(255), primary_key=True),
            Column("record_id", RowId, primary_key=True, autoincrement=False, index=True),
            **MYSQL,
        )
        self.photos = Table(
            name("photos"),
            metadata,
            Column("record_id", RowId, primary_key=True, autoincrement=False),
            Column("name", String(255), primary_key=True),
            Column("source", SmallInteger, nullable=False),
            Column("created_at", BigInteger, nullable=False),
            Column("score", Float),
            Column("components", Text, nullable=False),
            Column("request_id", String(64), nullable=False),
            **MYSQL,
        )
        self.digests = Table(  # of all photos, augmented ones too, as their templates were made of them
            name("digests"),
            metadata,
            Column("record_id", RowId, primary_key=True, autoincrement=False),
            Column("name", String(255), primary_key=True),
            Column("digest", LargeBinary, nullable=False),
            **MYSQL,
        )
        self.operations = Table(
            name("operations"),
            metadata,
            Column("operation_id", String(32), primary_key=True),
            Column("kind", String(16), nullable=False),
            Column("slot", String(16), unique=True),  # the kind while it runs: so there is one at a time
            Column("models", Text, nullable=False),
            Column("state", String(16), nullable=False),
            Column("total", BigInteger, nullable=False),
            Column("done", BigInteger, nullable=False),
            Column("position", BigInteger, nullable=False),
            Column("problem", Text, nullable=False),
            Column("started_by", String(255), nullable=False),
            Column("holder", String(64), nullable=False, default=""),
            Column("held_until", Double, nullable=False, default=0),  # seconds since 1970
            Column("created_at", BigInteger, nullable=False),
            Column("updated_at", BigInteger, nullable=False),
            Column("ended_at", BigInteger, nullable=False),
            **MYSQL,
        )
        self.models = Table(
            name("models"),
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),  # a single row, 1
            Column("answering", Text, nullable=False),  # names, in JSON
            Column("before", Text, nullable=False),  # those that did before, whose templates are kept
            **MYSQL,
        )
        self.journal = Table(  # what was committed and is not finished yet: journal.py
            "reco_enrolments",
            metadata,
            Column("enrolment_id", String(64), primary_key=True),
            Column("person_id", String(255), nullable=False, index=True),
            Column("details", Text, nullable=False),
            **MYSQL,
        )
        self.uses = Table(
            "reco_last_uses",
            metadata,
            Column("person_id", String(255), primary_key=True),
            Column("day", Integer, nullable=False),  # since 1970
            **MYSQL,
        )
        self.keys = Table(
            "reco_keys",
            metadata,
            Column("digest", String(64), primary_key=True),
            Column("name", String(64), nullable=False, unique=True),
            Column("role", String(16), nullable=False),
            Column("created", BigInteger, nullable=False),
            Column("expires", BigInteger),
            Column("last_used", BigInteger),
            Column("revoked", BigInteger),
            **{**MYSQL, "mysql_charset": "ascii", "mysql_collate": "ascii_bin"},
        )
        self.schema = Schema(metadata, Path(__file__).parent / "versions", name("schema"))


@cache
def tables_of(people_table: str) -> Tables:
    """Those beside a table of people."""
    return Tables(people_table)


def _name(people_table: str, suffix: str) -> str:
    """Of a table that is named after the one of people."""
    name = f"{people_table}_{suffix}"
    if len(name) <= MAX_TABLE_NAME:
        return name
    return f"{people_table[:32]}_{blake2b(people_table.encode(), digest_size=6).hexdigest()}_{suffix}"
