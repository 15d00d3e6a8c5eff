"""Long work, in a real MariaDB."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url, text

from services.common.database import open_engine
from services.gateway.storage.operations import SqlOperations
from tests.operations_contract import Open, OperationsContract


class TestOperations(OperationsContract):
    """As on SQLite."""

    @pytest.fixture
    def open_store(self, mysql_url: str) -> Iterator[Open]:
        engine = open_engine(make_url(mysql_url))
        _empty(engine)  # other tests may have left tables
        yield lambda wanted: SqlOperations(engine, "reco_table", wanted)
        _empty(engine)
        engine.dispose()


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in connection.execute(text("SHOW TABLES")).scalars().all():
            connection.execute(text(f"DROP TABLE `{table}`"))
