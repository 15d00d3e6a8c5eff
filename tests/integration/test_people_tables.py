"""What is known of people beside their rows, in a real MariaDB."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url, text

from services.common.database import open_engine
from services.gateway.storage.people import SqlPeople
from services.gateway.storage.records import SqlRecords
from tests.fake_storage import ENV
from tests.people_contract import PeopleContract, Stores


class TestPeople(PeopleContract):
    """As on SQLite."""

    @pytest.fixture
    def stores(self, mysql_url: str) -> Iterator[Stores]:
        engine = open_engine(make_url(mysql_url))
        stores = Stores(SqlRecords(engine, ENV), SqlPeople(engine, ENV.sql_table))
        yield stores
        with engine.begin() as connection:
            for table in connection.execute(text("SHOW TABLES")).scalars().all():
                connection.execute(text(f"DROP TABLE `{table}`"))
        engine.dispose()
