"""Carries out a plan: several people at a time, each once, however often it is begun anew."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ..answers import PhotoReport
from ..client import Client
from ..enrolling import Enrolled
from ..errors import Limited, NotAllowed, NotFound, RecoError, Unavailable
from .journal import Entry, Journal
from .plan import PersonPlan, Plan, Refused

#: Those after which going on with the next person makes no sense.
_ENDING = (Unavailable, NotAllowed, Limited)

#: What the server says of photos that do not do, in its words where it refuses all of them.
_OUTCOMES = {
    "OUTCOME_LOW_QUALITY": "its quality score is below SCORE_TOL",
    "OUTCOME_UNDECODABLE": "it is no picture in a format that is read, or too large",
    "OUTCOME_NO_FACE": "it shows no face",
    "OUTCOME_SEVERAL_FACES": "it shows more than one face",
}


@dataclass(frozen=True)
class Result:
    """What became of somebody: `person_id` is empty where they are not enrolled, `before` whether they were already."""

    key: str
    person_id: str = ""
    enrolled: int = 0
    before: bool = False
    refused: tuple[Refused, ...] = ()
    similar: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runner:
    """How people are enrolled.

    Attributes:
        progress: called from any thread with a number of photos that have been dealt with since.
        reject_similar: leave out who is enrolled under another ID.
    """

    client: Client
    journal: Journal
    progress: Callable[[int], None]
    reject_similar: bool = False
    workers: int = 8

    def run(self, plan: Plan) -> Iterator[Result]:
        """Enrolls all of a plan; results come as people are done.

        Raises:
            Unavailable, NotAllowed, Limited: nothing more can be done now; who has been enrolled stays so.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            left = iter(plan.people.values())
            running: set[Future[Result]] = set()
            while True:
                more = islice(left, 2 * self.workers - len(running))
                running |= {pool.submit(self._person, person) for person in more}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()

    def _person(self, person: PersonPlan) -> Result:
        try:
            photos = {path: _digest(path) for path in person.photos}
            entry = self.journal.of(person.key)
            result = self._once(person, photos, entry)
        except _ENDING:
            raise
        except RecoError as err:
            result = Result(person.key, refused=_why_of_all(person, err))
        except OSError as err:
            result = Result(person.key, refused=(Refused(str(err.filename), "cannot be read", person.key),))
        return result

    def _once(self, person: PersonPlan, photos: dict[Path, str], entry: Entry | None) -> Result:
        if entry is None:
            return self._create(person, photos)
        known = set(entry.digests)
        new = {path: digest for path, digest in photos.items() if digest not in known}
        self.progress(len(photos) - len(new))
        if not new:
            return Result(person.key, entry.person_id, before=True)
        request_id = _request_id(entry.person_id, list(new.values()))
        try:
            reports = self.client.add_photos(entry.person_id, list(new), request_id, self._counter())
        except NotFound:  # erased since
            return self._create(person, photos)
        self.journal.write(person.key, entry.person_id, _taken(new, reports))
        return replace(_result(person, list(new), entry.person_id, reports), before=True)

    def _create(self, person: PersonPlan, photos: dict[Path, str]) -> Result:
        told = [person.key, person.name, person.person_id, person.external_id, *person.labels]
        enrolled: Enrolled = self.client.enroll(
            person.name,
            list(photos),
            _request_id(json.dumps(told), list(photos.values())),
            self._counter(),
            person_id=person.person_id,
            external_id=person.external_id,
            labels=person.labels,
            reject_similar=self.reject_similar,
        )
        person_id = enrolled.person.person_id
        self.journal.write(person.key, person_id, _taken(photos, enrolled.photos))
        similar = tuple(one.person.person_id for one in enrolled.similar_people)
        return _result(person, list(photos), person_id, enrolled.photos, similar)

    def _counter(self) -> Callable[[int], None]:
        """Turns numbers of photos so far into numbers of photos since."""
        before = 0

        def count(sent: int) -> None:
            nonlocal before
            self.progress(sent - before)
            before = sent

        return count


def _taken(photos: dict[Path, str], reports: Sequence[PhotoReport]) -> tuple[str, ...]:
    """The digests of those that need not be sent again; the others may do once SCORE_TOL is another."""
    if len(photos) != len(reports):  # of a request that was repeated, which tells of those alone that were enrolled
        return tuple(photos.values())
    return tuple(digest for digest, report in zip(photos.values(), reports, strict=True) if report.enrolled)


def _result(
    person: PersonPlan,
    paths: Sequence[Path],
    person_id: str,
    reports: Sequence[PhotoReport],
    similar: tuple[str, ...] = (),
) -> Result:
    enrolled = sum(report.enrolled for report in reports)
    named = zip(paths, reports, strict=True) if len(paths) == len(reports) else ()  # not of a request that was repeated
    refused = [Refused(str(path), _words(report), person.key) for path, report in named if not report.enrolled]
    return Result(person.key, person_id, enrolled, False, tuple(refused), similar)


def _words(report: PhotoReport) -> str:
    score = f" ({report.quality.score:.1f})" if report.quality and report.outcome == "OUTCOME_LOW_QUALITY" else ""
    return report.problem or _OUTCOMES.get(report.outcome, report.outcome) + score


def _why_of_all(person: PersonPlan, err: RecoError) -> tuple[Refused, ...]:
    """A refusal of somebody, photo by photo where that is told."""
    whys = [err.fields.get(f"photos[{number}]", "") for number in range(len(person.photos))]
    told = [Refused(str(path), why, person.key) for path, why in zip(person.photos, whys, strict=True) if why]
    return tuple(told) or (Refused("", f"{err} ({err.reason or err.status})", person.key),)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _request_id(told: str, digests: Sequence[str]) -> str:
    """The same for the same person and photos, whenever and wherever it is made."""
    return hashlib.sha256("\n".join((told, *digests)).encode()).hexdigest()[:40]
