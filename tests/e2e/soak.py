"""Keeps the whole system busy for an hour, restarts its database again and again, and watches what it takes.

`make soak MINUTES=60` runs it, on MariaDB (on SQLite where that is not installed: then nothing is restarted),
tests/e2e/test_soak.py briefly. People upload photos, are enrolled, verified, searched for, erased, and must not be known
then. While the database is away requests may be refused; at any other time an answer other than the right one is wrong,
and HTTP 500 always is. Prints memory and open files of each process over time; fails where they grow, where an answer is
wrong, or where a process ends.
"""

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from deploy.local.client import Answer, Client
from deploy.local.demo import astronaut, jpeg
from tests.e2e.services import NAMES
from tests.e2e.system import System
from tests.e2e.watch import Watch, table
from tests.load.messages import UNLIMITED
from tests.mariadb import MariaDB

#: Seconds after the database is back in which requests may still be refused: those who wait for it try again by then.
RECOVERY = 15

#: How many IDs each worker uses in turns.
PEOPLE = 40


@dataclass(frozen=True)
class Plan:
    """How long and how hard; times in seconds."""

    seconds: float
    restart_every: float = 120.0
    away: float = 3.0
    look_every: float = 5.0
    print_every: float = 60.0
    workers: int = 3


class Outages:
    """When the database was away."""

    def __init__(self, recovery: float = RECOVERY, clock: Callable[[], float] = time.monotonic):
        self._recovery = recovery
        self._clock = clock
        self._times: list[list[float]] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """It is away during the block."""
        times = [self._clock(), float("inf")]
        self._times.append(times)
        try:
            yield
        finally:
            times[1] = self._clock() + self._recovery

    def excuse(self, started: float) -> bool:
        """Whether a request that started then, and has ended now, may have been refused."""
        return any(begin <= self._clock() and started <= end for begin, end in tuple(self._times))


class Wrong(Exception):
    """An answer that nothing excuses."""


class Load:
    """People who use the system through Envoy; `counts` tells how often, `wrong` what they should not have been told."""

    def __init__(self, port: int, outages: Outages):
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._base = f"http://localhost:{port}"
        self._client = Client(self._base, timeout=60)
        self._outages = outages
        self._photo = jpeg(astronaut())
        self._stop = threading.Event()

    @contextmanager
    def running(self, workers: int) -> Iterator[None]:
        """Goes on while the block runs."""
        with ThreadPoolExecutor(workers) as pool:
            done = [pool.submit(self._work, number) for number in range(workers)]
            try:
                yield
            finally:
                self._stop.set()
            for one in done:
                one.result()

    def _work(self, worker: int) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            try:
                self._live(f"RECO_ID_{worker + 1:03}{number % PEOPLE:03}")
                self.counts["people"] += 1
            except Wrong as err:
                self.wrong.append(str(err))

    def _live(self, person: str) -> None:
        """One person comes, is recognised, and goes."""
        self._erase(person)
        while not self._enroll(self._upload(person)):
            self._erase(person)  # they may be enrolled nevertheless
        probe = self._upload(person)
        self._verify(probe, 200)
        self._verify(probe, 134, skip_verify=True)
        self._erase(person)
        self._verify(self._upload(person), 116, skip_db_search=True)

    def _enroll(self, upload_id: str) -> bool:
        return self._ask("enroll", lambda: self._client.upload_db(upload_id, "Eileen Collins"), (800,)) is not None

    def _upload(self, person: str) -> str:
        answer = self._until("upload", lambda: self._client.upload(person, {"a.jpg": self._photo}), (119,))
        return str(answer["upload_results"]["upload_id"])

    def _verify(self, upload_id: str, code: int, **flags: bool) -> None:
        self._until(f"verify {code}", lambda: self._client.verify(upload_id, skip_liveness=True, **flags), (code,))

    def _erase(self, person: str) -> None:
        self._until("erase", lambda: self._delete(person), (True, False))

    def _delete(self, person: str) -> Answer:
        request = urllib.request.Request(f"{self._base}/v1/people/{person}", method="DELETE")
        with urllib.request.urlopen(request, timeout=60) as answer:
            read: Answer = json.load(answer)
            return read

    def _until(self, what: str, act: Callable[[], Answer], right: tuple[int, ...]) -> Answer:
        """The right answer, asked for again as long as the database excuses others."""
        while not (answer := self._ask(what, act, right)):
            time.sleep(0.3)
        return answer

    def _ask(self, what: str, act: Callable[[], Answer], right: tuple[int, ...]) -> Answer | None:
        """The answer, if it is right; None if it is not, but may be. Raises Wrong otherwise."""
        started = time.monotonic()
        self.counts[what] += 1
        try:
            answer = act()
            told, is_right = str(answer), code_of(answer) in right
        except urllib.error.HTTPError as err:
            told, is_right = f"HTTP {err.code} {err.read().decode(errors='replace')}", False
            if err.code == 500:
                raise Wrong(f"{what}: {told}") from err
        except OSError as err:
            told, is_right = repr(err), False
        if is_right:
            return answer
        if not self._outages.excuse(started):
            raise Wrong(f"{what}: {told}")
        self.counts["refused while the database was away"] += 1
        return None


def code_of(answer: Answer) -> object:
    """The contract's code; of an erasure whether the person was there."""
    codes = [value for key, value in answer.items() if key.endswith("_code") or key == "existed"]
    return codes[0] if codes else None


@dataclass(frozen=True)
class Result:
    """What came of it."""

    load: Load
    watch: Watch
    restarts: int
    dead: list[str]

    @property
    def complaints(self) -> list[str]:
        """What is not as it should be."""
        return [*(f"{name} ended" for name in self.dead), *self.watch.complaints(), *self.load.wrong]


def run(folder: Path, plan: Plan, server: MariaDB | None, **more: str) -> Result:
    """Soaks a system of its own, with more settings of `.env`."""
    settings = {**(server.settings if server else {}), "NUM_AUG": "1", **more}
    with System(folder, None, UNLIMITED, **settings) as system:
        watch = Watch({name: system.pids(name)[-1] for name in (*NAMES, "envoy")})
        outages = Outages()
        load = Load(system.port, outages)
        with load.running(plan.workers):
            restarts = _watch(plan, watch, load, lambda: server is not None and _restart(server, plan, outages))
        return Result(load, watch, restarts, watch.dead())


def _restart(server: MariaDB, plan: Plan, outages: Outages) -> bool:
    with outages.one():
        server.stop()
        time.sleep(plan.away)
        server.start()
    return True


def _watch(plan: Plan, watch: Watch, load: Load, restart: Callable[[], bool]) -> int:
    """Looks and restarts until the time is over; returns how often was restarted."""
    started = time.monotonic()
    next_look, next_restart, next_print, restarts = 0.0, plan.restart_every, plan.print_every, 0
    while (now := time.monotonic() - started) < plan.seconds and not watch.dead():
        if now >= next_look:
            taken = watch.look()
            next_look = now + plan.look_every
            if now >= next_print:
                cells = (f"{name} {one.resident >> 20} MiB {one.files} files" for name, one in taken.items())
                print(
                    f"{now:6.0f} s, {load.counts['people']} people, {len(load.wrong)} wrong; {', '.join(cells)}",
                    flush=True,
                )
                next_print += plan.print_every
        if now >= next_restart:
            restarts += restart()
            next_restart += plan.restart_every
        time.sleep(0.2)
    return restarts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--restart-every", type=float, default=120, help="seconds between restarts of the database")
    options = parser.parse_args()
    plan = Plan(60 * options.minutes, options.restart_every)
    with tempfile.TemporaryDirectory(prefix="reco-soak-") as folder:
        (Path(folder) / "mariadb").mkdir()
        (Path(folder) / "system").mkdir()
        with MariaDB(Path(folder) / "mariadb") if MariaDB.is_installed() else nullcontext() as server:
            result = run(Path(folder) / "system", plan, server)
    print(table(result.watch.samples))
    for name, count in sorted(result.load.counts.items()):
        print(f"{name:40}{count:8}")
    print(f"{'restarts of the database':40}{result.restarts:8}")
    print(*(f"wrong: {complaint}" for complaint in result.complaints), sep="\n")
    return 1 if result.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
