"""Kills and crowds enrollments and erasures, and checks that row, photos and templates always agree.

`make chaos` runs it: kill -9 of the gateway and the embedder at random moments of enrollments of every kind, of erasures,
merges and imports, then many enrollments of one person at once. Prints counts of trials, losses (answered as done, but
not) and disagreements. Then two copies of everything behind Envoy are restarted, and killed, one by one under load
(rolling.py).
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import grpc
from reco.gateway.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    people_pb2,
    people_pb2_grpc,
    transfer_pb2,
    transfer_pb2_grpc,
)
from sqlalchemy import make_url

from deploy.local.demo import astronaut, jpeg
from services.common.database import open_engine
from tests.e2e import rolling
from tests.e2e.chaos_state import Places, State, in_folders, in_objects, look
from tests.e2e.services import Services
from tests.e2e.system import System
from tests.mariadb import MariaDB
from tests.s3 import BUCKET, ObjectStore

PERSON = "RECO_ID_1"
OTHER = "RECO_ID_2"
KINDS = ("created", "created in place", "added", "replaced", "erased", "merged", "imported")
AUGMENTATIONS = 2

#: What is printed.
COUNTED = (
    "trials",
    "old state",
    "new state",
    "erased",
    "tried again",
    "crowd enrollments",
    "crowd refused",
    "losses",
    "disagreements",
)


class Chaos:
    """Trials on running services."""

    def __init__(self, services: Services, places: Places, url: str, seed: int = 0):
        self.counts: Counter[str] = Counter()
        self._services = services
        self._places = places
        self._engine = open_engine(make_url(url))
        self._random = random.Random(seed)
        self._channel = services.channel("gateway")
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._people = people_pb2_grpc.PeopleServiceStub(self._channel)
        self._transfers = transfer_pb2_grpc.TransferServiceStub(self._channel)
        self._photos = _photos()
        self._duration = self._erasure = 1.0

    def measure(self) -> None:
        """How long an enrollment takes: kills are spread over that time."""
        for _ in range(2):
            upload_id = self._upload()
            started = time.monotonic()
            self._enrol(upload_id, in_place=True)
            self._duration = time.monotonic() - started
        started = time.monotonic()
        assert self._try_delete()
        self._erasure = time.monotonic() - started

    def kill_trial(self, victim: str, kind: str) -> None:
        """Kills a service in the middle of an enrollment or erasure, starts it again, and looks at what is there."""
        if kind == "erased":
            self._prepare("added")
            self._upload()
            before = look(self._places, self._engine, PERSON)
            success = self._killed(victim, self._erasure, self._try_delete)
            return self._judge_erasure(before, self._settled(), success)
        if kind == "merged":
            return self._merge_trial(victim)
        if kind == "imported":
            return self._import_trial(victim)
        before = self._prepare(kind)
        upload_id = self._upload()
        in_place = kind in ("created in place", "replaced")
        success = self._killed(victim, self._duration, lambda: self._try_enrol(upload_id, in_place))
        self._judge(kind, before, self._settled(), success, upload_id)
        return None

    def _merge_trial(self, victim: str) -> None:
        """Either both are there as before, or one with all photos; what was not done can be done again."""
        self._prepare("added")
        self._enrol(self._upload(OTHER), in_place=False)
        before, request = self._settled(), people_pb2.MergePersonRequest(person_id=PERSON, other_person_id=OTHER)
        success = self._killed(
            victim, self._duration, lambda: _tried(lambda: self._people.MergePerson(request, timeout=60))
        )
        state = self._settled()
        is_old = (state.rows, state.photos) == (before.rows, before.photos)
        ours = 1 + AUGMENTATIONS
        is_new = len(state.rows) == 1 and len(state.photos) == 2 * ours and len(state.photos & before.photos) == ours
        self._count("merged", (before, state), (is_old, is_new), success)
        self.counts["disagreements"] += is_old and not self._try_merge(request)

    def _import_trial(self, victim: str) -> None:
        """Either nobody is there, or the person as they were; sent again, they are."""
        whole = self._prepare("added")
        (person,) = self._transfers.ExportPeople(transfer_pb2.ExportPeopleRequest(include_templates=True)).people
        self._gateway.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60)
        before, request = self._settled(), transfer_pb2.ImportPeopleRequest(people=[person])
        success = self._killed(
            victim, self._duration / 2, lambda: _tried(lambda: self._transfers.ImportPeople(request, timeout=60))
        )
        state = self._settled()
        is_new = (state.rows, state.photos) == (whole.rows, whole.photos)
        self._count("imported", (before, state), (not state.rows, is_new), success)
        again = self._transfers.ImportPeople(request, timeout=60).people[0].outcome
        told = transfer_pb2.ImportedPerson.OUTCOME_UNCHANGED if is_new else transfer_pb2.ImportedPerson.OUTCOME_IMPORTED
        settled = self._settled()
        self.counts["disagreements"] += again != told or (settled.rows, settled.photos) != (whole.rows, whole.photos)

    def _try_merge(self, request: people_pb2.MergePersonRequest) -> bool:
        return _tried(lambda: self._people.MergePerson(request, timeout=60))

    def _count(self, kind: str, states: tuple[State, State], found: tuple[bool, bool], success: bool) -> None:
        (before, state), (is_old, is_new) = states, found
        agrees = state.agrees and (is_old or is_new)
        self.counts["trials"] += 1
        self.counts["old state"] += is_old
        self.counts["new state"] += is_new
        self.counts["losses"] += success and not is_new
        self.counts["disagreements"] += not agrees
        self.counts["tried again"] += is_old
        if not agrees:
            print(f"disagreement: {kind}\n  before {before}\n  after {state}", file=sys.stderr)

    def _killed(self, victim: str, duration: float, work: Callable[[], bool]) -> bool:
        """Whether the work was answered well, in the middle of which a service was killed; it is started again."""
        with ThreadPoolExecutor(1) as executor:
            answered = executor.submit(work)
            time.sleep(self._random.uniform(0, 1.1 * duration))
            self._services.kill(victim)
            self._services.start(victim)
            self._services.wait(victim)
            success = answered.result()
        grpc.channel_ready_future(self._channel).result(timeout=30)
        return success

    def _judge_erasure(self, before: State, state: State, success: bool) -> None:
        gone = not (state.rows or state.photos or state.templates or state.uploads)
        self.counts["trials"] += 1
        self.counts["old state"] += state == before
        self.counts["erased"] += gone
        self.counts["losses"] += success and not gone
        agrees = state.agrees and (gone or state == before)
        if not gone:
            agrees = agrees and self._try_delete() and self._settled().agrees
            self.counts["tried again"] += 1
        self.counts["disagreements"] += not agrees
        if not agrees:
            print(f"disagreement: erased\n  before {before}\n  after {state}", file=sys.stderr)

    def _try_delete(self) -> bool:
        request = gateway_pb2.DeletePersonRequest(person_id=PERSON)
        return _tried(lambda: self._gateway.DeletePerson(request, timeout=60))

    def _judge(self, kind: str, before: State, state: State, success: bool, upload_id: str) -> None:
        is_old = (state.rows, state.photos) == (before.rows, before.photos)
        is_new = bool(state.photos - before.photos) and self._is_complete(kind, before, state)
        consumed = self._places.is_used(upload_id)
        self.counts["trials"] += 1
        self.counts["old state"] += is_old
        self.counts["new state"] += is_new
        self.counts["losses"] += success and not is_new
        agrees = state.agrees and (is_old or is_new) and consumed == is_new
        if is_old and not consumed:
            agrees = agrees and self._try_enrol(upload_id, in_place=True) and self._settled().agrees
            self.counts["tried again"] += 1
        self.counts["disagreements"] += not agrees
        if not agrees:
            print(f"disagreement: {kind}\n  before {before}\n  after {state}", file=sys.stderr)

    @staticmethod
    def _is_complete(kind: str, before: State, state: State) -> bool:
        new = state.photos - before.photos
        kept = state.photos & before.photos
        expected = before.photos if kind == "added" else frozenset()
        return len(new) == 1 + AUGMENTATIONS and kept == expected

    def crowd_trial(self, enrollments: int) -> None:
        """Many enrollments of one person at once, mixed in_place."""
        self._prepare("created")
        uploads = [self._upload() for _ in range(enrollments)]
        with ThreadPoolExecutor(enrollments) as executor:
            done = list(executor.map(lambda pair: self._try_enrol(pair[1], pair[0] % 3 == 0), enumerate(uploads)))
        state = self._settled()
        self.counts["crowd enrollments"] += enrollments
        self.counts["crowd refused"] += done.count(False)
        self.counts["disagreements"] += not (state.agrees and len(state.photos) % (1 + AUGMENTATIONS) == 0)

    def _prepare(self, kind: str) -> State:
        for person_id in (PERSON, OTHER):
            self._gateway.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=person_id), timeout=60)
        if kind in ("added", "replaced"):
            self._enrol(self._upload(), in_place=False)
        state = self._settled()
        assert state.agrees, state
        return state

    def _upload(self, person_id: str = PERSON) -> str:
        photo = gateway_pb2.Photo(name="a.jpg", image=self._random.choice(self._photos))
        request = gateway_pb2.UploadPhotosRequest(person_id=person_id, photos=[photo])
        return self._gateway.UploadPhotos(request, timeout=60).upload_id

    def _enrol(self, upload_id: str, in_place: bool) -> None:
        request = gateway_pb2.EnrollPersonRequest(upload_id=upload_id, name="Eileen Collins", in_place=in_place)
        self._gateway.EnrollPerson(request, timeout=60)

    def _try_enrol(self, upload_id: str, in_place: bool) -> bool:
        return _tried(lambda: self._enrol(upload_id, in_place))

    def _settled(self) -> State:
        """The state once it agrees, or after the time that the services may take to tidy up."""
        deadline = time.monotonic() + 20
        while not (state := look(self._places, self._engine, PERSON)).agrees and time.monotonic() < deadline:
            time.sleep(0.2)
        return state


def _tried(ask: Callable[[], object]) -> bool:
    """Whether a call was answered well."""
    try:
        ask()
    except grpc.RpcError:
        return False
    return True


def _photos() -> list[bytes]:
    pixels = astronaut()
    return [jpeg(cv2.convertScaleAbs(pixels, alpha=alpha)) for alpha in (1.0, 1.05, 1.1)]


@dataclass(frozen=True)
class Storage:
    """Where services store what they are told: a database, and folders or an object store."""

    settings: dict[str, str]
    url: str
    objects: ObjectStore | None = None

    def places(self, folder: Path) -> Places:
        """Of services whose `.env` is in that folder."""
        return in_objects(self.objects.buckets / BUCKET / "chaos") if self.objects else in_folders(folder / "var")

    @property
    def environment(self) -> dict[str, str]:
        """What the services are told of it."""
        return {"PHOTOS_URI": f"s3://{BUCKET}/chaos", **self.objects.environment} if self.objects else {}


def run(folder: Path, storage: Storage, kills: int, crowd: int, seed: int) -> Counter[str]:
    """All trials on services of their own; returns the counts."""
    System(folder).write_env(**storage.settings, NUM_AUG=str(AUGMENTATIONS))  # only for its folders and .env
    with Services(folder / ".env", ("detector", "embedder", "gateway"), **storage.environment) as services:
        chaos = Chaos(services, storage.places(folder), storage.url, seed)
        chaos.measure()
        for number in range(kills):
            chaos.kill_trial(("gateway", "embedder")[number % 2], KINDS[number // 2 % len(KINDS)])
        if crowd:
            chaos.crowd_trial(crowd)
        return chaos.counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--crowd", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3, help="times that each of two copies is restarted, and killed")
    parser.add_argument("--objects", action="store_true", help="photos and uploads in an object store")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reco-chaos-") as temporary:
        folder = Path(temporary)
        counts = trials(folder / "trials", options)
        loads = {"restarts": Services.stop, "kills": Services.kill} if options.rounds else {}
        done = {what: rolling.run(folder / what, {}, end, options.rounds) for what, end in loads.items()}
    print(f"seed {options.seed}")
    _print(counts, COUNTED)
    for what, load in done.items():
        print(f"\n{what} of two copies of each service, one by one, under load")
        _print(load.counts, rolling.COUNTED)
    bad = [counts["losses"], counts["disagreements"]]
    bad += [load.counts[what] for load in done.values() for what in ("losses", "verifications refused")]
    return 1 if any(bad) or "restarts" in done and done["restarts"].complaints else 0


def trials(folder: Path, options: argparse.Namespace) -> Counter[str]:
    """On MariaDB where it is installed, else on SQLite."""
    settings, url = dict[str, str](), f"sqlite:///{folder}/var/reco.db"
    with ExitStack() as servers:
        if MariaDB.is_installed():
            (folder / "mariadb").mkdir(parents=True)
            database = servers.enter_context(MariaDB(folder / "mariadb"))
            settings, url = database.settings, database.url
        objects = servers.enter_context(ObjectStore(folder / "s3")) if options.objects else None
        return run(folder, Storage(settings, url, objects), options.kills, options.crowd, options.seed)


def _print(counts: Counter[str], names: Sequence[str]) -> None:
    for name in names:
        print(f"{name:24}{counts[name]:6}")


if __name__ == "__main__":
    sys.exit(main())
