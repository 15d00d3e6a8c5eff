"""The table of people and the journal, on SQLite; what the pipeline relies on, on the fake of its other tests too."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from services.common.database import open_engine
from services.common.errors import DatabaseRefused, DatabaseUnavailable
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.types import JournalEntry, PersonRecord, RecordStore
from tests.fake_storage import ENV, FakeRecords
from tests.fakes import Steps

ENTRY = JournalEntry(
    enrollment_id="007-00000000000000000000000000000001",
    person_id="RECO_ID_1",
    upload_id="RECO_ID_1-123",
    folder="ann_lee-RECO_ID_1",
    keep=("a.png", "b.png"),
    drop_folder="ann-RECO_ID_1",
    drop=("c.png",),
)

#: ENTRY as versions before this one have written it.
DETAILS = (
    '{"enrolment_id": "007-00000000000000000000000000000001", "person_id": "RECO_ID_1", "upload_id": "RECO_ID_1-123", '
    '"folder": "ann_lee-RECO_ID_1", "keep": ["a.png", "b.png"], "drop_folder": "ann-RECO_ID_1", "drop": ["c.png"]}'
)

NEW = PersonRecord(0, "RECO_ID_1", "ann_lee", "/db/ann_lee-RECO_ID_1")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(make_url(f"sqlite:///{tmp_path}/reco.db"))
    yield engine
    engine.dispose()


@pytest.fixture(params=["real", "fake"])
def records(request: pytest.FixtureRequest, engine: Engine) -> RecordStore:
    return SqlRecords(engine, ENV) if request.param == "real" else FakeRecords(Steps())


def entry(number: int) -> JournalEntry:
    return JournalEntry(f"000-{number}", f"RECO_ID_{number}", f"RECO_ID_{number}-1", "folder")


def test_a_row_and_its_journal_entry_are_written_together(records: RecordStore):
    assert records.find("RECO_ID_1") is None and records.journal() == []
    record = records.commit(NEW, ENTRY)
    assert record == PersonRecord(1, NEW.person_id, NEW.name, NEW.path)
    assert records.find("RECO_ID_1") == record
    assert records.journal() == records.journal("RECO_ID_1") == [ENTRY]
    assert records.journal("RECO_ID_2") == []
    for _ in range(2):  # deleting twice is deleting once
        records.delete_entry(ENTRY.enrollment_id)
    assert records.journal() == []


def test_a_row_is_changed_in_place(records: RecordStore):
    record = records.commit(NEW, entry(1))
    changed = PersonRecord(record.record_id, "RECO_ID_1", "ann_miller", "/db/x")
    assert records.commit(changed, entry(2)) == changed == records.find("RECO_ID_1")


def test_a_row_is_deleted_together_with_what_was_journalled_of_the_person(records: RecordStore):
    record = records.commit(NEW, ENTRY)
    records.commit(PersonRecord(0, "RECO_ID_2", "bob", "/db/bob"), entry(2))
    for number, row in ((3, record), (4, None)):  # the second time there is no row any more
        erasure = JournalEntry(f"007-{number}", "RECO_ID_1", "", "folder", erases=("folder", "another"))
        records.erase(row, erasure)
        assert records.find("RECO_ID_1") is None
        assert records.journal("RECO_ID_1") == [erasure]
    assert records.find("RECO_ID_2") and records.journal("RECO_ID_2") == [entry(2)]


def test_the_latest_day_of_use_is_noted_of_those_who_are_there(records: RecordStore):
    for number in (1, 2, 3):
        records.commit(PersonRecord(0, f"RECO_ID_{number}", "ann", "/db/x"), entry(number))
    records.use(["RECO_ID_1", "RECO_ID_2", "RECO_ID_9"], 20_000)
    records.use(["RECO_ID_1"], 20_001)
    records.use(["RECO_ID_1", "RECO_ID_2"], 19_999)
    records.use([], 20_002)
    ids = [f"RECO_ID_{number}" for number in range(10)]
    assert records.last_uses(ids) == {"RECO_ID_1": 20_001, "RECO_ID_2": 20_000}
    assert records.last_uses(["RECO_ID_2"]) == {"RECO_ID_2": 20_000}


def test_days_of_use_go_with_the_person_and_can_be_forgotten(records: RecordStore):
    for number in (1, 2):
        records.commit(PersonRecord(0, f"RECO_ID_{number}", "ann", "/db/x"), entry(number))
    records.use(["RECO_ID_1", "RECO_ID_2"], 20_000)
    records.erase(records.find("RECO_ID_1"), JournalEntry("007-9", "RECO_ID_1", "", "x", erases=("x",)))
    records.use(["RECO_ID_1"], 20_001)  # a gateway that has recognised them just before
    assert records.last_uses(["RECO_ID_1", "RECO_ID_2"]) == {"RECO_ID_2": 20_000}
    records.forget_uses()
    assert records.last_uses(["RECO_ID_1", "RECO_ID_2"]) == {}


def test_days_of_use_find_a_place_in_the_database_of_an_earlier_version(engine: Engine):
    SqlRecords(engine, ENV).commit(NEW, ENTRY)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE reco_last_uses"))
    records = SqlRecords(engine, ENV)
    records.use(["RECO_ID_1"], 20_000)
    assert records.last_uses(["RECO_ID_1"]) == {"RECO_ID_1": 20_000} and records.find("RECO_ID_1")


def test_an_erasure_is_one_to_earlier_versions_too(engine: Engine):
    """They delete the photos that `drop` names, and store an empty gallery."""
    erasure = JournalEntry("007-1", "RECO_ID_1", "", "folder", (), "folder", ("a.png",), ("folder",))
    SqlRecords(engine, ENV).erase(None, erasure)
    with engine.connect() as connection:
        details = json.loads(connection.scalars(text("SELECT details FROM reco_enrolments")).one())
    assert [details[key] for key in ("upload_id", "keep", "drop_folder", "drop")] == ["", [], "folder", ["a.png"]]


def test_what_was_deleted_is_in_no_file_of_the_database(engine: Engine, tmp_path: Path):
    records = SqlRecords(engine, ENV)
    for number in range(200):
        person = f"RECO_ID_{number}"
        records.commit(PersonRecord(0, person, f"name-of-{number}-", "/db/x"), entry(number))
    for number in range(0, 200, 2):
        erasure = JournalEntry(f"001-{number}", f"RECO_ID_{number}", "", "folder", erases=(f"name-of-{number}-",))
        records.erase(records.find(f"RECO_ID_{number}"), erasure)
        records.delete_entry(erasure.enrollment_id)
    records.purge()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    left = [number for number in range(200) if any(f"name-of-{number}-".encode() in data for data in files)]
    assert left == list(range(1, 200, 2))


def test_the_database_is_not_purged_while_somebody_reads_what_was_deleted(engine: Engine):
    records = SqlRecords(engine, ENV)
    record = records.commit(NEW, ENTRY)
    with engine.connect() as reader, reader.begin():
        assert reader.scalars(text("SELECT count(*) FROM reco_table")).one() == 1
        records.erase(record, JournalEntry("007-3", "RECO_ID_1", "", "folder", erases=()))
        with pytest.raises(DatabaseUnavailable):
            records.purge()
    records.purge()


def test_rows_are_paged_by_their_id(records: RecordStore):
    people = [f"RECO_ID_{number}" for number in range(1, 6)]
    for number, person in enumerate(people, 1):
        records.commit(PersonRecord(0, person, "x", "x"), entry(number))
    first = records.after(0, 3)
    assert [row.person_id for row in first] == people[:3]
    assert [row.person_id for row in records.after(first[-1].record_id, 3)] == people[3:]
    assert records.after(5, 3) == []


def test_an_id_is_compared_exactly(records: RecordStore):
    records.commit(NEW, entry(1))
    assert records.find("reco_id_1") is None and records.find("RECO_ID_1 ") is None


def test_what_is_refused_is_not_written_in_part(engine: Engine):
    records = SqlRecords(engine, ENV)
    records.commit(NEW, ENTRY)
    with pytest.raises(DatabaseRefused):
        records.commit(PersonRecord(0, "RECO_ID_2", "x", "x"), ENTRY)  # the entry is there already
    assert records.find("RECO_ID_2") is None
    with pytest.raises(DatabaseRefused):
        records.commit(NEW, entry(2))  # the person is
    assert records.journal() == [ENTRY]


def test_an_entry_of_an_earlier_version_is_read(engine: Engine):
    records = SqlRecords(engine, ENV)
    assert records.journal() == []
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO reco_enrolments (enrolment_id, person_id, details) VALUES (:id, 'RECO_ID_1', :details)"),
            {"id": ENTRY.enrollment_id, "details": DETAILS},
        )
    assert records.journal("RECO_ID_1") == [ENTRY]


def test_an_entry_is_written_as_earlier_versions_read_it(engine: Engine):
    SqlRecords(engine, ENV).commit(NEW, ENTRY)
    with engine.connect() as connection:
        ((key, person_id, details),) = connection.execute(
            text("SELECT enrolment_id, person_id, details FROM reco_enrolments")
        )
    assert (key, person_id) == (ENTRY.enrollment_id, ENTRY.person_id)
    assert list(json.loads(details).items()) == list(json.loads(DETAILS).items())


def test_the_columns_are_those_of_the_settings_and_the_first_is_the_id(engine: Engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE reco_table (k INTEGER PRIMARY KEY, reco_path, x, reco_name, reco_id)"))
        connection.execute(text("INSERT INTO reco_table VALUES (41, 'I:\\db\\ann-RECO_ID_7', 0, 'ann', 'RECO_ID_7')"))
    records = SqlRecords(engine, ENV)
    assert records.find("RECO_ID_7") == PersonRecord(41, "RECO_ID_7", "ann", "I:\\db\\ann-RECO_ID_7")
    assert records.commit(NEW, ENTRY).record_id == 42


def test_a_table_without_a_column_is_refused(engine: Engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE reco_table (ID INTEGER PRIMARY KEY, reco_id, reco_name)"))
    with pytest.raises(DatabaseRefused, match="reco_path"):
        SqlRecords(engine, ENV).find("RECO_ID_1")
