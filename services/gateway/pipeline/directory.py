"""Who is enrolled: lists of people, what is known of each, and their photos."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from services.common.call import seconds_left
from services.common.env import SqlSettings
from services.gateway.errors import Busy, NotEnrolled, PhotoUnknown
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.profile import current_profile, profile_of
from services.gateway.pipeline.reconcile import PAGE, Reconciler
from services.gateway.storage.profiles import PeopleFilter, PhotoFacts, Position, Profile, position_of
from services.gateway.storage.types import PersonRecord, Workspace

PNG = ".png"


@dataclass(frozen=True)
class Listing:
    """A page of people, and the place where the next one begins; None on the last."""

    people: tuple[Profile, ...]
    after: Position | None


class Directory:
    """Reads what is known of people. Safe to use from several threads."""

    def __init__(self, reconciler: Reconciler):
        self._reconciler = reconciler
        self._lock = threading.Lock()
        self._followed: dict[tuple[SqlSettings, str], int] = {}

    def page(self, workspace: Workspace, wanted: PeopleFilter, after: Position | None, limit: int) -> Listing:
        """A page of people: `limit` at most, fewer where some have just gone."""
        self.follow(workspace)
        found = workspace.people.page(wanted, after, limit + 1)
        page = found[:limit]
        rows = workspace.records.rows_of([profile.record_id for profile in page])
        workspace.people.forget([profile for profile in page if profile.record_id not in rows])
        people = [current_profile(rows[one.record_id], one) for one in page if one.record_id in rows]
        return Listing(tuple(people), position_of(page[-1], wanted.order) if len(found) > limit else None)

    def get(self, workspace: Workspace, person_id: str) -> Profile:
        """What is known of a person; raises InvalidPersonId, NotEnrolled."""
        return profile_of(workspace, find_person(workspace, person_id))

    def photos(self, workspace: Workspace, person_id: str) -> Sequence[PhotoFacts]:
        """A person's photos but for augmented ones, by name; raises InvalidPersonId, NotEnrolled."""
        return list(self._photos(workspace, person_id))

    def photo(self, workspace: Workspace, person_id: str, photo_id: str) -> PhotoFacts:
        """One of them; raises InvalidPersonId, NotEnrolled, PhotoUnknown."""
        found = (facts for facts in self._photos(workspace, person_id) if facts.name == f"{photo_id}{PNG}")
        return next(found, None) or _no_photo(person_id)

    def image(self, workspace: Workspace, person_id: str, photo_id: str) -> bytes:
        """Its picture, a PNG file; raises InvalidPersonId, NotEnrolled, PhotoUnknown."""
        record = self._finished(workspace, person_id)
        if workspace.photos.names(record.folder).get(f"{photo_id}{PNG}") is not False:
            _no_photo(person_id)
        try:
            return workspace.photos.read_one(record.folder, f"{photo_id}{PNG}", augmented=False).png
        except FileNotFoundError:
            _no_photo(person_id)

    def follow(self, workspace: Workspace) -> None:
        """Writes down people whose rows others have written since the last call, and forgets those whose rows are gone.

        The first call of a process goes through all of them.
        """
        key = (workspace.env.sql, workspace.env.sql_table)
        if not self._lock.acquire(timeout=seconds_left()):
            raise Busy("people are being listed for the first time")
        try:
            last = self._followed.get(key, 0)
            while page := workspace.records.after(last, PAGE):
                _write_down(workspace, last, page)
                last = page[-1].record_id
            self._followed = {key: last}
        finally:
            self._lock.release()

    def _photos(self, workspace: Workspace, person_id: str) -> Iterator[PhotoFacts]:
        record = self._finished(workspace, person_id)
        known = workspace.people.photos(record.record_id)
        for name, augmented in workspace.photos.names(record.folder).items():
            if not augmented:
                yield known.get(name) or PhotoFacts(name)

    def _finished(self, workspace: Workspace, person_id: str) -> PersonRecord:
        """The row of a person, after their photos have come where they belong."""
        check_person_id(person_id, workspace.env.id_regex)
        self._reconciler.finish_enrollments(workspace, person_id)
        return find_person(workspace, person_id)


def find_person(workspace: Workspace, person_id: str) -> PersonRecord:
    """The row of a person; raises InvalidPersonId, NotEnrolled."""
    record = workspace.records.find(check_person_id(person_id, workspace.env.id_regex))
    if record is None:
        raise NotEnrolled(f"{person_id!r} is not enrolled")
    return record


def _no_photo(person_id: str) -> NoReturn:
    raise PhotoUnknown(f"{person_id!r} has no such photo")


def _write_down(workspace: Workspace, after: int, page: Sequence[PersonRecord]) -> None:
    """Brings what is known of people in agreement with a page of their rows, which begins behind a row's number."""
    known = {profile.record_id: profile for profile in workspace.people.between(after, page[-1].record_id)}
    rows = {record.record_id: record for record in page}
    strangers = [one for number, one in known.items() if number in rows and rows[number].person_id != one.person_id]
    unlisted = [number for number in known if number not in rows]
    gone = set(unlisted) - set(workspace.records.rows_of(unlisted))  # not those who came since the page was read
    workspace.people.forget([*strangers, *(known[number] for number in gone)])
    new = [record for number, record in rows.items() if number not in known] + [
        rows[one.record_id] for one in strangers
    ]
    workspace.people.add([current_profile(record, None) for record in new])
    for record in page:
        written = known.get(record.record_id)
        if written and written not in strangers and written.stored_name != record.name:
            workspace.people.rename(current_profile(record, written))
