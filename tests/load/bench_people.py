"""How long a page of a list of people takes: in the gateway, from the request to the answer, without the way there.

usage: python -m tests.load.bench_people [--people 100000] [--database sqlite:///FILE | mysql+mysqldb://…]

The database is to be empty. People come into it as rows that somebody else has written, which the gateway finds; half of
them have one label, one in a thousand another.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp
from reco.gateway.v1 import people_pb2
from sqlalchemy import Engine, MetaData, Table, insert, make_url, update

from services.common.database import open_engine, writing
from services.gateway.storage.people import SqlPeople
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.tables import tables_of
from tests.fake_storage import ENV
from tests.load.figures import Figure, at_most, wall_ms
from tests.unit.gateway.fake_gateway import CONTEXT, FakeGateway

#: Pages of a list that are asked for one after the other, and rows written at a time.
PAGES, BATCH = 40, 5000

GOAL = 10

#: Microseconds between the people's enrollments.
APART = 1_000_000


def main() -> None:
    """Prints a line for each list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    for figure in figures(options.people, options.database):
        print(f"{figure.what}: {figure.value} (goal: {figure.goal or 'none'})", flush=True)


def figures(people: int, database: str = "") -> Iterator[Figure]:
    """Of each kind of list; `database`: a file of its own if empty."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as executor:
        engine = open_engine(make_url(database or f"sqlite:///{folder}/reco.db"))
        gateway = FakeGateway(executor)
        records, kept = SqlRecords(engine, ENV), SqlPeople(engine, ENV.sql_table)
        gateway.workspaces.workspace = replace(gateway.workspace, records=records, people=kept)
        records.find("")  # makes the tables
        fill(engine, people)
        taken = wall_ms(gateway.pipeline.directory.follow, gateway.workspace)
        yield Figure(f"{people:,} people found for the first time", "", f"{taken / 1000:.1f} s")
        label(engine, people)
        for what, wanted in lists(people).items():
            times = pages(gateway, wanted)
            note = f" (of {len(times)} pages the slowest {max(times):.1f} ms)"
            yield at_most(f"A page of 50 of {people:,} people: {what}", GOAL, statistics.median(times), " ms", note)
        engine.dispose()


def lists(people: int) -> dict[str, people_pb2.ListPeopleRequest]:
    """Requests for the first page of each kind of list."""
    request, halfway = people_pb2.ListPeopleRequest, Timestamp(seconds=people // 2)
    return {
        "all": request(),
        "by a prefix": request(name_prefix="ann1"),
        "by a label of half of them": request(label="half"),
        "by a label of few": request(label="few"),
        "by time": request(created_after=halfway),
        "by a prefix and a label of half of them": request(name_prefix="ann1", label="half"),
        "by time and a label of few": request(created_after=halfway, label="few"),
    }


def pages(gateway: FakeGateway, wanted: people_pb2.ListPeopleRequest) -> list[float]:
    """Milliseconds of each of the first pages of a list."""
    times: list[float] = []
    answers: list[people_pb2.ListPeopleResponse] = []
    while len(times) < PAGES and (not answers or answers[-1].next_page_token):
        if answers:
            wanted.page_token = answers[-1].next_page_token
        times.append(wall_ms(lambda: answers.append(gateway.people_api.ListPeople(wanted, CONTEXT))))
    return times


def fill(engine: Engine, people: int) -> None:
    """Writes rows into the table of people, as others do."""
    table = Table(ENV.sql_table, MetaData(), autoload_with=engine)
    names = (ENV.id_col, ENV.name_col, ENV.path_col)
    for start in range(0, people, BATCH):
        numbers = range(start, min(people, start + BATCH))
        values = [(f"RECO_ID_{number}", f"ann{number % 2003}_lee{number}", f"/db/{number}") for number in numbers]
        with writing(engine) as connection:
            connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in values])


def label(engine: Engine, people: int) -> None:
    """Gives people labels, and times of enrollment."""
    tables = tables_of(ENV.sql_table)
    with writing(engine) as connection:
        connection.execute(update(tables.profiles).values(created_at=tables.profiles.c.record_id * APART))
    for start in range(1, people + 1, BATCH):
        numbers = range(start, min(people + 1, start + BATCH))
        rows = [{"label": "half", "record_id": number} for number in numbers if number % 2]
        rows += [{"label": "few", "record_id": number} for number in numbers if number % 1000 == 0]
        with writing(engine) as connection:
            connection.execute(insert(tables.labels), rows)


if __name__ == "__main__":
    main()
