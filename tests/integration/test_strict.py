"""A MySQL server that cuts what does not fit, as many are set: a person's row is refused all the same, whole."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, make_url, text

from services.common.database import open_engine
from services.common.errors import DatabaseRefused
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.types import JournalEntry, PersonRecord
from tests.fake_storage import ENV
from tests.mariadb import MariaDB

COLUMNS = "(ID INT PRIMARY KEY AUTO_INCREMENT, reco_id VARCHAR(12), reco_name VARCHAR(200), reco_path VARCHAR(500))"

LONG_ID = PersonRecord(0, "RECO_ID_000502", "ann", "/db/ann-RECO_ID_000502")
CHINESE = PersonRecord(0, "RECO_ID_8", "王小明", "/db/王小明-RECO_ID_8")
FITS = PersonRecord(0, "RECO_ID_8", "zoé", "/db/zoé-RECO_ID_8")


@pytest.fixture(params=["''", "'ANSI_QUOTES'", "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'"])
def engine(request: pytest.FixtureRequest, mariadb: MariaDB) -> Iterator[Engine]:
    """Of a server set to this mode."""
    with mariadb.connect("", "root", "") as connection:
        connection.cursor().execute("SET @before = @@GLOBAL.sql_mode")
        connection.cursor().execute(f"SET GLOBAL sql_mode = {request.param}")
        engine = open_engine(make_url(mariadb.url))
        with engine.begin() as tables:
            tables.execute(text("DROP TABLE IF EXISTS old12, reco_enrolments, reco_last_uses"))
        yield engine
        engine.dispose()
        connection.cursor().execute("SET GLOBAL sql_mode = @before")


@pytest.mark.parametrize("kind", ["InnoDB", "MyISAM"])
@pytest.mark.parametrize("record", [LONG_ID, CHINESE])
def test_what_would_be_cut_is_refused_and_nothing_is_left(engine: Engine, record: PersonRecord, kind: str):
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE old12 {COLUMNS} CHARACTER SET latin1 ENGINE {kind}"))
    records = SqlRecords(engine, replace(ENV, sql_table="old12"))
    entry = JournalEntry("000-strict", record.person_id, "upload", "folder")
    with pytest.raises(DatabaseRefused):
        records.commit(record, entry)
    assert records.after(0, 10) == [] and records.journal() == []
    stored = records.commit(FITS, entry)
    with pytest.raises(DatabaseRefused):
        records.commit(replace(stored, name="王小明"), replace(entry, enrollment_id="000-strict-2"))
    assert records.after(0, 10) == [stored] and records.journal() == [entry]


def test_days_of_use_are_noted_there_too(engine: Engine):
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE old12 {COLUMNS} CHARACTER SET latin1 ENGINE InnoDB"))
    records = SqlRecords(engine, replace(ENV, sql_table="old12"))
    records.commit(FITS, JournalEntry("000-strict", FITS.person_id, "upload", "folder"))
    for day in (20_000, 20_001, 19_999):
        records.use([FITS.person_id, FITS.person_id.lower(), "RECO_ID_9"], day)
    assert records.last_uses([FITS.person_id, "RECO_ID_9"]) == {FITS.person_id: 20_001}
    records.erase(records.find(FITS.person_id), JournalEntry("000-1", FITS.person_id, "", "x", erases=("x",)))
    records.use([FITS.person_id], 20_002)
    assert records.last_uses([FITS.person_id]) == {}
