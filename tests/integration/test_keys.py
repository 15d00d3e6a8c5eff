"""The table of keys in a real MariaDB, as on SQLite."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url

from services.common.database import open_engine
from services.gateway.access.keys import KeyRefused, KeyTable, digest_of
from services.gateway.access.roles import Role


@pytest.fixture
def engine(mysql_url: str) -> Iterator[Engine]:
    engine = open_engine(make_url(mysql_url))
    yield engine
    engine.dispose()


def test_keys_are_made_used_revoked_and_listed(engine: Engine):
    table = KeyTable(engine, "reco_table")
    assert table.all() == []
    door, gate = table.add("door", Role.VERIFY, 60, now=1000), table.add("Door", Role.ADMIN, None, now=1001)
    table.used({digest_of(door): 1010})
    table.used({digest_of(door): 1005})
    table.revoke("Door", now=1020)
    with pytest.raises(KeyRefused):
        table.add("door", Role.ADMIN, None)
    first, second = KeyTable(engine, "reco_table").all()
    assert (first.name, first.role, first.expires, first.last_used) == ("door", Role.VERIFY, 1060, 1010)
    assert first.is_valid(1059) and not first.is_valid(1060)
    assert (second.name, second.digest, second.revoked) == ("Door", digest_of(gate), 1020)
    assert not second.is_valid(0)
