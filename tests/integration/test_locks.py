"""Locks of people in a real MariaDB: over processes, and when a connection is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from services.common.database import open_engine
from services.common.errors import DatabaseUnavailable
from services.gateway.errors import Busy, ErasureIncomplete, NotEnrolled, PhotoMissing, UploadEmpty, UploadUnknown
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.server import build_pipeline
from services.gateway.stages.types import Stages
from services.gateway.storage.locks import DatabaseLocks, open_locks
from services.gateway.storage.operations import SqlOperations
from services.gateway.storage.people import SqlPeople
from services.gateway.storage.photos import PhotoFolders
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.types import JournalEntry, PersonLocks, PersonRecord, Workspace
from services.gateway.storage.uploads import UploadFolders
from tests.fake_storage import ENV
from tests.fakes import FakeDetector, FakeEmbedder, FakeLiveness, Steps, fake_photo
from tests.locks_contract import ANN, BEN, CAT, LocksContract, hold
from tests.machine import ROOT
from tests.unit.gateway.fake_gateway import PERSON

ENTRY = JournalEntry("000-1", ANN, ".no-upload", "x-ann")


@pytest.fixture
def engine(mysql_url: str) -> Iterator[Engine]:
    engine = open_engine(make_url(mysql_url))
    yield engine
    with engine.begin() as connection:
        for table in connection.execute(text("SHOW TABLES")).scalars().all():
            connection.execute(text(f"DROP TABLE `{table}`"))
    engine.dispose()


@pytest.fixture
def gateways(engine: Engine) -> tuple[DatabaseLocks, DatabaseLocks]:
    return DatabaseLocks(engine), DatabaseLocks(engine)


class TestDatabaseLocks(LocksContract):
    """As files have them."""

    @pytest.fixture
    def gateways(self, engine: Engine) -> tuple[PersonLocks, PersonLocks]:
        return DatabaseLocks(engine), DatabaseLocks(engine)


def end_holders(engine: Engine) -> int:
    """Ends the connections that have asked for named locks, as an administrator or a lost network does."""
    with engine.connect() as connection:
        mine = connection.scalar(text("SELECT CONNECTION_ID()"))
        others = "SELECT id FROM information_schema.processlist WHERE id <> :mine AND db = 'reco'"
        ended = connection.scalars(text(others), {"mine": mine}).all()
        for number in ended:
            connection.execute(text(f"KILL {number}"))
    return len(ended)


def test_locks_are_chosen_by_the_database(engine: Engine, tmp_path: Path):
    assert isinstance(open_locks(engine, tmp_path), DatabaseLocks)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_holds_no_lock(mysql_url: str, gateways: tuple[DatabaseLocks, DatabaseLocks]):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, mysql_url, ANN], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ}
    )
    assert holder.stdout and holder.stdout.readline() == b"holding\n"
    with pytest.raises(Busy):
        hold(gateways[0], ANN)
    holder.send_signal(signal.SIGSTOP)  # it answers nobody, and may go on
    with pytest.raises(Busy):
        hold(gateways[0], ANN)
    holder.kill()
    holder.wait()
    with gateways[0].hold(ANN):  # as soon as the server has learnt of it
        gateways[0].check()


HOLD = """
import sys, time
from sqlalchemy import make_url
from services.common.database import open_engine
from services.gateway.storage.locks import DatabaseLocks
with DatabaseLocks(open_engine(make_url(sys.argv[1]))).hold(sys.argv[2]):
    print("holding", flush=True)
    time.sleep(600)
"""


def test_who_has_lost_the_lock_commits_nothing(engine: Engine, gateways: tuple[DatabaseLocks, DatabaseLocks]):
    first, second = gateways
    records = [SqlRecords(engine, ENV, locks.holder) for locks in gateways]
    with first.hold(ANN, BEN):
        records[0].find(ANN)
        assert end_holders(engine)
        with second.hold(ANN):
            there = records[1].commit(PersonRecord(0, ANN, "ann", "/db/x-ann"), ENTRY)
        for _ in range(2):  # it does not connect anew behind its back
            with pytest.raises(DatabaseUnavailable):
                records[0].erase(there, JournalEntry("000-2", ANN, "", "x-ann", erases=("x-ann",)))
            with pytest.raises(DatabaseUnavailable):
                first.check()
    assert records[1].find(ANN) == there and records[1].journal() == [ENTRY]
    assert first.lost() == {ANN, BEN} and not first.lost() and not second.lost()
    with first.hold(ANN):
        first.check()
        records[0].delete_entry(ENTRY.enrollment_id)
    assert not records[0].journal()


def test_who_lost_it_after_the_last_step_learns_of_it(engine: Engine, gateways: tuple[DatabaseLocks, DatabaseLocks]):
    with gateways[0].hold(CAT):
        end_holders(engine)
    assert gateways[0].lost() == {CAT}


def test_the_server_goes_and_comes_back(mariadb, engine: Engine, gateways: tuple[DatabaseLocks, DatabaseLocks]):
    with gateways[0].hold(ANN):
        mariadb.stop()
        with pytest.raises(DatabaseUnavailable):
            hold(gateways[1], CAT)
        mariadb.start()
        with pytest.raises(DatabaseUnavailable):
            gateways[0].check()
        hold(gateways[1], ANN)
    assert gateways[0].lost() == {ANN}


class Gateway:
    """A gateway of several on one database and one image database, with fakes for stages."""

    def __init__(self, engine: Engine, folder: Path, embedder: FakeEmbedder, executor: Executor):
        self.locks = DatabaseLocks(engine)
        self.steps = Steps()
        stages = Stages(FakeDetector(self.steps), FakeLiveness(self.steps), embedder)
        self.pipeline: Pipeline = build_pipeline(stages, executor)
        self.workspace = Workspace(
            ENV,
            SqlRecords(engine, ENV, self.locks.holder),
            PhotoFolders(folder / "db"),
            UploadFolders(folder / "uploads"),
            self.locks,
            SqlPeople(engine, ENV.sql_table),
            SqlOperations(engine, ENV.sql_table, ENV.selected_models),
        )

    def enroll(self, number: int) -> str:
        """Erasing a person takes along the uploads that are being enrolled just then: those are sent again."""
        while True:
            upload = self.workspace.uploads.create(PERSON, [(".jpg", fake_photo("ann"))])
            name = ("Ann Lee", "Ann Miller")[number % 2]
            with suppress(UploadUnknown, PhotoMissing, UploadEmpty):
                self.pipeline.enroller.enroll(self.workspace, upload.upload_id, name, in_place=number % 3 == 0)
                return "enrolled"

    def erase(self) -> str:
        try:
            self.pipeline.enroller.delete(self.workspace, PERSON)
        except NotEnrolled:
            return "nobody"
        return "erased"


@pytest.fixture
def make_gateway(engine: Engine, tmp_path: Path) -> Iterator[Callable[[], Gateway]]:
    for name in ("db", "uploads"):
        (tmp_path / name).mkdir()
    embedder = FakeEmbedder(Steps())
    with ThreadPoolExecutor(4) as executor:
        yield lambda: Gateway(engine, tmp_path, embedder, executor)


def check_agreement(gateway: Gateway) -> None:
    """Row, photos and templates tell of the same, and nothing is left over."""
    workspace, reconciler = gateway.workspace, gateway.pipeline.reconciler
    reconciler.clean_up(workspace)
    record, embedder = workspace.records.find(PERSON), reconciler._embedder
    folders = workspace.photos.folders_ending(f"-{PERSON}")
    assert folders == ([record.folder] if record else [])
    assert set(embedder.stored.get(PERSON, ())) == set(workspace.photos.names(record.folder) if record else ())
    assert not workspace.records.journal() and not workspace.photos.staged()


def test_two_gateways_enroll_and_erase_one_person_at_once(make_gateway: Callable[[], Gateway]):
    gateways = [make_gateway(), make_gateway()]
    for gateway in gateways:  # not at once: the tables are made
        gateway.enroll(0)

    def act(number: int) -> str:
        gateway = gateways[number % 2]
        return gateway.enroll(number) if number % 4 < 3 else gateway.erase()

    with ThreadPoolExecutor(6) as clients:
        outcomes = list(clients.map(act, range(40)))
    assert {"enrolled", "erased"} <= set(outcomes)
    check_agreement(gateways[0])
    gateways[0].enroll(1)
    check_agreement(gateways[1])
    assert gateways[1].erase() == "erased"
    check_agreement(gateways[0])


@pytest.mark.parametrize("step", ["embedder.enroll", "embedder.remove"])
def test_a_gateway_that_loses_the_lock_after_its_commit_does_no_harm(
    make_gateway: Callable[[], Gateway], engine: Engine, step: str
):
    """Another one finishes its work and does something new, while its last step is under way."""
    late, prompt = make_gateway(), make_gateway()
    steps = late.pipeline.reconciler._embedder._steps
    prompt.enroll(1)

    def lose() -> None:
        steps.clear()
        end_holders(engine)
        if step == "embedder.enroll":
            prompt.erase()
        else:
            prompt.enroll(2)

    steps.before(step, lose)
    if step == "embedder.enroll":
        late.enroll(4)
    else:
        with pytest.raises(ErasureIncomplete):
            late.erase()
    check_agreement(late)
    record = prompt.workspace.records.find(PERSON)
    assert (record is None) == (step == "embedder.enroll")
