"""How many people a second an export and an import take: `python -m tests.load.bench_transfer`.

One person with one photo is enrolled, exported, and imported again and again under other IDs, then all are exported, over
REST, page by page as `reco` does it, by one client on the same machine.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.local.demo import astronaut, jpeg
from tests.e2e.api import Api
from tests.e2e.system import System

#: People of a request: as many as an export gives of such photos.
PAGE = 40


def main() -> None:
    """Prints both rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, System(Path(folder), SCORE_TOL="5.000", NUM_AUG="0") as system:
        api = Api(system)
        api.create("RECO_ID_1", jpeg(astronaut()))
        (person,) = api.get("/v1/people:export?include_templates=true")["people"]
        pages = [
            [_under(person, number) for number in range(first, first + PAGE)]
            for first in range(2, options.people + 2, PAGE)
        ]
        started = time.perf_counter()
        for page in pages:
            status, answer = api.ask("POST", "/v1/people:import", {"people": page})
            assert status == 200 and {one["outcome"] for one in answer["people"]} == {"OUTCOME_IMPORTED"}, answer
        count = sum(map(len, pages))
        print(f"import: {count / (time.perf_counter() - started):.0f} people a second")
        started, exported, token = time.perf_counter(), 0, ""
        while token or not exported:
            page = api.get(f"/v1/people:export?include_templates=true&page_token={token}")
            exported, token = exported + len(page["people"]), page["next_page_token"]
        print(f"export: {exported / (time.perf_counter() - started):.0f} people a second")


def _under(person: dict[str, Any], number: int) -> dict[str, Any]:
    """The same under another ID."""
    other = copy.deepcopy(person)
    other["person"]["person_id"] = f"RECO_ID_{number}"
    return other


if __name__ == "__main__":
    main()
