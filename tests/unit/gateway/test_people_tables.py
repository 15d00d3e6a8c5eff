"""What is known of people beside their rows: on SQLite, and on the fake of the pipeline's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, make_url, text

from services.common.database import open_engine
from services.gateway.env import Env
from services.gateway.storage.people import SqlPeople
from services.gateway.storage.profiles import PeopleFilter, Profile
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.types import JournalEntry, PersonRecord
from tests.fake_people import FakePeople
from tests.fake_storage import ENV, FakeRecords
from tests.fakes import Steps
from tests.people_contract import PeopleContract, Stores


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(make_url(f"sqlite:///{tmp_path}/reco.db"))
    yield engine
    engine.dispose()


class TestPeople(PeopleContract):
    """Both of them."""

    @pytest.fixture(params=["real", "fake"])
    def stores(self, request: pytest.FixtureRequest, engine: Engine) -> Stores:
        if request.param == "real":
            return Stores(SqlRecords(engine, ENV), SqlPeople(engine, ENV.sql_table))
        people = FakePeople()
        return Stores(FakeRecords(Steps(), people), people)


def test_the_tables_come_to_a_database_that_has_people_already(engine: Engine):
    """Of an earlier version, which had the people and the journal; nothing of these changes."""
    records = SqlRecords(engine, ENV)
    row = records.commit(PersonRecord(0, "RECO_ID_1", "ann", "/db/ann"), JournalEntry("000-1", "RECO_ID_1", "", "ann"))
    with engine.begin() as connection:
        for suffix in ("profiles", "labels", "photos"):
            connection.execute(text(f"DROP TABLE {ENV.sql_table}_{suffix}"))
        before = inspect(connection).get_columns(ENV.sql_table)
    people = SqlPeople(engine, ENV.sql_table)
    assert people.page(PeopleFilter(), None, 9) == []
    people.add([Profile(row.record_id, "RECO_ID_1", "ann", "Ann")])
    assert [one.display_name for one in people.page(PeopleFilter(), None, 9)] == ["Ann"]
    assert SqlRecords(engine, ENV).find("RECO_ID_1") == row
    with engine.connect() as connection:
        assert str(inspect(connection).get_columns(ENV.sql_table)) == str(before)


def test_a_profile_of_somebody_else_is_not_forgotten(engine: Engine):
    """Whose number of the row it has got meanwhile."""
    people = SqlPeople(engine, ENV.sql_table)
    people.add([Profile(1, "RECO_ID_1", "ann", "Ann")])
    people.forget([Profile(1, "RECO_ID_2", "bob", "Bob")])
    assert people.find(1)


@pytest.mark.parametrize("name", ["people", "p" * 64])
def test_each_table_of_people_has_its_own(engine: Engine, name: str):
    """Whoever tries another SQL_TABLE finds all as it was when they return; a name may be as long as MySQL allows."""
    SqlPeople(engine, name).add([Profile(1, "RECO_ID_1", "ann", "Ann")])
    assert SqlPeople(engine, name[:-1] + "x").find(1) is None
    assert SqlPeople(engine, name).find(1)
    with engine.connect() as connection:
        assert all(len(table) <= 64 for table in inspect(connection).get_table_names())


def test_nothing_of_who_was_erased_stays_in_the_files(engine: Engine, tmp_path: Path):
    stores = Stores(SqlRecords(engine, ENV), SqlPeople(engine, ENV.sql_table))
    stores.enroll(1, "Zebediah Quux", labels=("quuxlabel",), external_id="quuxternal")
    stores.records.erase(stores.records.find("RECO_ID_1"), JournalEntry("000-3", "RECO_ID_1", "", "", erases=()))
    stores.records.delete_entry("000-1")
    stores.records.delete_entry("000-3")
    stores.records.purge()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [word for word in (b"Quux", b"quux", b"RECO_ID_1") if word in stored]


def test_the_table_may_be_one_that_somebody_else_has_made(engine: Engine):
    """Whose number is not counted by the database."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (nr INTEGER, pid TEXT, nm TEXT, pt TEXT)"))
    env = Env(**{**ENV.__dict__, "sql_table": "theirs", "id_col": "pid", "name_col": "nm", "path_col": "pt"})
    stores = Stores(SqlRecords(engine, env), SqlPeople(engine, "theirs"))
    assert [stores.enroll(number).record_id for number in (1, 2)] == [1, 2]
    assert stores.all(9) == [["Ann Lee", "Ann Lee"]]
