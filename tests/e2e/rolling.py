"""Restarts and kills every copy of every service, one after the other, while people are enrolled and verified.

`make chaos` runs it at length, tests/e2e/test_rolling.py briefly: two copies of each service behind Envoy.
"""

import http.client
import itertools
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.client import Client
from deploy.local.demo import astronaut, jpeg
from tests.e2e.envoy import Envoy
from tests.e2e.services import NAMES, Services
from tests.e2e.system import System

COPIES = tuple(f"{name}{number}" for name in NAMES for number in ("", "-2"))
#: What is printed.
COUNTED = (
    "copies ended",
    "verifications",
    "verifications refused",
    "enrollments",
    "enrollments refused",
    "people looked up",
    "losses",
)
#: Threads that verify, and that enroll, all the time.
VERIFYING, ENROLLING = 2, 1


class Load:
    """People who use the system through Envoy; `counts` tells how they fared, `complaints` what they were told."""

    def __init__(self, port: int):
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._client = Client(f"http://localhost:{port}")
        self._photo = jpeg(astronaut())
        self._numbers = itertools.count(1)
        self._enrolled: list[str] = []
        self._stop = threading.Event()
        self._turns: Counter[int] = Counter()  # begun, by thread
        self._enrol()
        self._probe = self._upload(self._enrolled[0])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Goes on while the block runs."""
        with ThreadPoolExecutor(VERIFYING + ENROLLING) as pool:
            kinds = [("verifications", self._verify)] * VERIFYING + [("enrollments", self._enrol)] * ENROLLING
            done = [pool.submit(self._repeat, *kind) for kind in kinds]
            try:
                yield
            finally:
                self._stop.set()
            for one in done:
                one.result()

    def settle(self) -> None:
        """Waits until all that is under way has been answered."""
        before = dict(self._turns)
        while any(self._turns[thread] == count for thread, count in before.items()):
            time.sleep(0.01)

    def count_losses(self) -> None:
        """Whoever was answered as enrolled must be verified as that person."""
        for person in self._enrolled:
            answer = self._client.verify(self._upload(person), skip_liveness=True, skip_db_search=True)
            self.counts["losses"] += answer["recognition_code"] != 200
            self.counts["people looked up"] += 1

    def _repeat(self, kind: str, act: Callable[[], None]) -> None:
        while not self._stop.is_set():
            self._turns[threading.get_ident()] += 1
            try:
                act()
                self.counts[kind] += 1
            except (urllib.error.URLError, http.client.HTTPException, OSError, Refused) as err:
                self.counts[f"{kind} refused"] += 1
                text = err.read().decode(errors="replace") if isinstance(err, urllib.error.HTTPError) else ""
                self.complaints.append(f"{kind}: {err} {text}")

    def _verify(self) -> None:
        _expect(200, self._client.verify(self._probe, skip_liveness=True), "recognition_code")

    def _enrol(self) -> None:
        person = f"RECO_ID_{next(self._numbers):06}"
        _expect(800, self._client.upload_db(self._upload(person), "Eileen Collins"), "result_code")
        self._enrolled.append(person)

    def _upload(self, person: str) -> str:
        answer = self._client.upload(person, {"a.jpg": self._photo})
        _expect(119, answer, "upload_code")
        return str(answer["upload_results"]["upload_id"])


class Refused(Exception):
    """An answer other than the one that a system at rest gives."""


def _expect(code: int, answer: dict[str, Any], key: str) -> None:
    if answer[key] != code:
        raise Refused(str(answer))


def run(folder: Path, settings: dict[str, str], end: Callable[[Services, str], None], rounds: int = 1) -> Load:
    """Ends and starts every copy in turn under load.

    Args:
        folder: empty; for everything that is stored.
        settings: values of `.env` other than those of .env.example.
        end: how a copy is ended: Services.stop or Services.kill.
        rounds: times that each copy is ended.
    """
    System(folder).write_env(**settings, NUM_AUG="1")  # only for its folders and .env
    with Services(folder / ".env", COPIES) as services:
        gateways = [port for name, port in services.ports.items() if name.startswith("gateway")]
        with Envoy(folder, gateways) as envoy:
            load = Load(envoy.port)
            with load.running():
                for name in COPIES * rounds:
                    end(services, name)
                    load.counts["copies ended"] += 1
                    services.start(name)
                    services.wait(name)
                    envoy.wait(len(gateways))
                    load.settle()  # what was begun while one copy was down shall not meet another that is
            load.count_losses()
    return load
