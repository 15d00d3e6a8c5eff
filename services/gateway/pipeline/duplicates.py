"""People who are enrolled twice: pairs whose photos match, and two of them made one."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from services.gateway.errors import InvalidField, InvalidPersonId
from services.gateway.pipeline.directory import find_person
from services.gateway.pipeline.draft import Drafter, new_enrollment_id, now
from services.gateway.pipeline.erase import plan_erasure
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.profile import MAX_LABELS, profile_of
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import USUAL, EmbedderStage, Limit, Measure, PersonMatch
from services.gateway.storage.profiles import Details, Order, PhotoFacts, Position, Profile
from services.gateway.storage.types import NO_UPLOAD, Erased, FacePhoto, JournalEntry, PersonRecord, Workspace

#: People who are compared at a time, and seconds after which a page ends with what was found.
BATCH = 50
PATIENCE = 5.0


@dataclass(frozen=True)
class ConflictFilter:
    """Which pairs a list is of: those within a limit, in the order in which the later of the two were enrolled."""

    limit: Limit = USUAL

    @property
    def order(self) -> Order:
        return Order.ENROLLMENT


@dataclass(frozen=True)
class Conflict:
    """Two people whose photos match: `person` was enrolled after `other`."""

    person: Profile
    other: Profile
    match: PersonMatch


@dataclass(frozen=True)
class Conflicts:
    """A page of them, and the place where the next one begins; None on the last."""

    pairs: tuple[Conflict, ...]
    after: Position | None


class Duplicates:
    """Finds people who are enrolled twice, and merges them."""

    def __init__(self, embedder: EmbedderStage, drafter: Drafter, reconciler: Reconciler):
        self._embedder = embedder
        self._drafter = drafter
        self._reconciler = reconciler

    def page(self, workspace: Workspace, wanted: ConflictFilter, after: Position | None, limit: int) -> Conflicts:
        """Pairs of people who match: at least `limit` where there are as many, unless it takes too long.

        All people are compared with all, some at a time: a page may have few pairs, or none, and not be the last.
        """
        self._reconciler.finish_enrollments(workspace)
        self._reconciler.embed_all_missing(workspace)
        measure = Measure(workspace.models.answering, workspace.env.sim_func, wanted.limit)
        last, until, pairs = after[1] if after else 0, time.monotonic() + PATIENCE, list[Conflict]()
        while rows := workspace.records.after(last, BATCH):
            pairs += self._conflicts(workspace, measure, rows)
            last = rows[-1].record_id
            if len(rows) < BATCH:
                break
            if len(pairs) >= limit or time.monotonic() > until:
                return Conflicts(tuple(pairs), (last, last))
        return Conflicts(tuple(pairs), None)

    def merge(self, workspace: Workspace, person_id: str, other_id: str) -> Profile:
        """Gives a person the other's photos and labels, and erases the other: at once, or not at all.

        Raises:
            InvalidPersonId, InvalidField, NotEnrolled.
            RecordRefused: nothing is left behind.
            ErasureIncomplete: it is done, and something that was kept of the other cannot be deleted yet.
        """
        check_person_id(person_id, workspace.env.id_regex)
        try:
            check_person_id(other_id, workspace.env.id_regex)
        except InvalidPersonId as err:
            raise InvalidField("other_person_id", str(err), err.reason) from err
        if person_id == other_id:
            raise InvalidField("other_person_id", "it is the same person")
        with workspace.lock(person_id, other_id):
            for one in (person_id, other_id):
                self._reconciler.finish_locked_person(workspace, one)
            record, other = find_person(workspace, person_id), find_person(workspace, other_id)
            self._reconciler.embed_missing_locked(workspace, record)  # those that stay have their templates then
            return self._merge(workspace, record, other)

    def _merge(self, workspace: Workspace, record: PersonRecord, other: PersonRecord) -> Profile:
        enrollment_id = new_enrollment_id(record.person_id)
        names = _new_names(enrollment_id, list(workspace.photos.names(other.folder).items()))
        known = workspace.people.photos(other.record_id)
        facts = [replace(known.get(old) or PhotoFacts(old), name=new) for old, (new, made) in names.items() if not made]
        keep = tuple(workspace.photos.names(record.folder))
        entry = JournalEntry(enrollment_id, record.person_id, NO_UPLOAD, record.folder, keep)
        erasure = plan_erasure(workspace, other.person_id, other, ())
        profile = _united(profile_of(workspace, record), profile_of(workspace, other))
        with self._drafter.staged(workspace, entry, _renamed(workspace, other.folder, names)):
            workspace.records.merge(record, entry, Details(profile, tuple(facts)), Erased(other, erasure))
        self._drafter.finish(workspace, entry, {})
        self._reconciler.finish_locked(workspace, replace(erasure, committed_at=math.inf), {})
        return profile

    def _conflicts(self, workspace: Workspace, measure: Measure, rows: Sequence[PersonRecord]) -> Iterator[Conflict]:
        """Of these people with those who were enrolled before each of them."""
        by_id = {row.person_id: row for row in rows}
        for person_id, match in self._embedder.similar(measure, list(by_id)):
            record, other = by_id[person_id], workspace.records.find(match.person_id)
            if other and other.record_id < record.record_id:
                yield Conflict(profile_of(workspace, record), profile_of(workspace, other), match)


def _new_names(enrollment_id: str, photos: Sequence[tuple[str, bool]]) -> dict[str, tuple[str, bool]]:
    """By the names that photos have, those that no other enrollment uses, and whether they are augmented."""
    unique = enrollment_id.rpartition("-")[2][:12]
    taken = [name for name, augmented in photos if not augmented]
    made = [name for name, augmented in photos if augmented]
    names = {}
    for number, name in enumerate(taken, 1):
        stem, new = PurePath(name).stem, f"{unique}-{number:03d}"
        names[name] = (f"{new}{PurePath(name).suffix}", False)
        theirs = [one for one in made if one.startswith(f"{stem}-aug")]
        names |= {one: (new + one.removeprefix(stem), True) for one in theirs}
    return names


def _renamed(workspace: Workspace, folder: str, names: dict[str, tuple[str, bool]]) -> Iterator[FacePhoto]:
    for old, (new, augmented) in names.items():
        yield replace(workspace.photos.read_one(folder, old, augmented), name=new)


def _united(profile: Profile, other: Profile) -> Profile:
    """What is known of a person who was two: where both say something, what the first says."""
    labels = (*profile.labels, *(label for label in other.labels if label not in profile.labels))
    return replace(
        profile,
        external_id=profile.external_id or other.external_id,
        labels=tuple(sorted(labels[:MAX_LABELS])),
        updated_at=now(),
    )
