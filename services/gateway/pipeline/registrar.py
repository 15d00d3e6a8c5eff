"""People enrolled by their photos in one call, changed, and parted from photos: all at once or not at all.

Photos come with the request and are not kept as they were sent: no upload waits between.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

from services.gateway.errors import InvalidField, LastPhoto, NoUsablePhoto, PersonExists, PhotoUnknown, SimilarPeople
from services.gateway.pipeline.directory import PNG, find_person
from services.gateway.pipeline.draft import Draft, Drafter, find_record, new_enrollment_id, now
from services.gateway.pipeline.enroll import Enroller
from services.gateway.pipeline.examine import Examiner, Finding, PhotoReport, enrolled, shot_of
from services.gateway.pipeline.new_id import made_ids
from services.gateway.pipeline.people import check_person_id, normalise_name
from services.gateway.pipeline.profile import profile_of
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.similar import Searcher, Similar
from services.gateway.pipeline.upload import NamedPhoto
from services.gateway.storage.profiles import Details, Profile, Source
from services.gateway.storage.types import NO_UPLOAD, JournalEntry, PersonRecord, Workspace


@dataclass(frozen=True)
class NewPerson:
    """Somebody to be enrolled; but for the ID, fields are checked already.

    Attributes:
        person_id: empty for one to be made.
        request_id: empty where the request has none.
        reject_similar: whether to refuse somebody who matches another person.
    """

    person_id: str
    display_name: str
    external_id: str = ""
    labels: tuple[str, ...] = ()
    request_id: str = ""
    reject_similar: bool = False


@dataclass(frozen=True)
class Change:
    """What is to be known of a person from now on; None leaves it. Fields are checked already."""

    display_name: str | None = None
    external_id: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Created:
    """Somebody who was enrolled; `photos` in the order of the request, or of one that is repeated those enrolled."""

    person: Profile
    photos: tuple[PhotoReport, ...]
    similar: tuple[Similar, ...] = ()


class Registrar:
    """Enrolls people by photos, changes what is known of them, and deletes photos."""

    def __init__(
        self, drafter: Drafter, examiner: Examiner, searcher: Searcher, enroller: Enroller, reconciler: Reconciler
    ):
        self._drafter = drafter
        self._examiner = examiner
        self._searcher = searcher
        self._enroller = enroller
        self._reconciler = reconciler

    def create(self, workspace: Workspace, new: NewPerson, photos: Sequence[NamedPhoto]) -> Created:
        """Enrolls somebody who is not enrolled yet.

        Raises:
            InvalidPersonId, InvalidField, NoPhotos, TooManyPhotos, NoUsablePhoto, PersonExists, SimilarPeople,
            RecordRefused: nothing is left behind.
        """
        digest = _digest(new, photos)
        if repeated := self._repeated(workspace, new.request_id, digest):
            return repeated
        person_id = _new_id(workspace, new)
        findings = self._examiner.examine(workspace, photos)
        draft = self._draft(workspace, person_id, findings, new.request_id)
        similar = self._searcher.similar(workspace, draft, thorough=new.reject_similar)
        if similar and new.reject_similar:
            raise SimilarPeople([one.person.person_id for one in similar])
        with workspace.lock(person_id):
            self._reconciler.finish_locked_person(workspace, person_id)
            if repeated := self._repeated(workspace, new.request_id, digest):
                return repeated
            if find_record(workspace, person_id):
                raise PersonExists(f"{person_id!r} is enrolled already")
            profile = self._start(workspace, new, draft, digest)
        return Created(profile, _reports(findings, draft), similar)

    def add(
        self, workspace: Workspace, person_id: str, photos: Sequence[NamedPhoto], request_id: str
    ) -> tuple[PhotoReport, ...]:
        """Adds photos to a person; what became of each, in their order, or of a request repeated those added.

        Raises:
            InvalidPersonId, NotEnrolled, NoPhotos, TooManyPhotos, NoUsablePhoto, RecordRefused: nothing is left behind.
        """
        record = find_person(workspace, person_id)
        if repeated := _brought(workspace, record, request_id):
            return repeated
        findings = self._examiner.examine(workspace, photos)
        draft = self._draft(workspace, person_id, findings, request_id)
        with workspace.lock(person_id):
            self._reconciler.finish_locked_person(workspace, person_id)
            record = find_person(workspace, person_id)
            if repeated := _brought(workspace, record, request_id):
                return repeated
            self._reconciler.embed_missing_locked(workspace, record)
            profile = replace(profile_of(workspace, record), updated_at=now())
            self._drafter.commit(workspace, draft, record, draft.adding_to(workspace, record), profile)
        return _reports(findings, draft)

    def update(self, workspace: Workspace, person_id: str, change: Change) -> Profile:
        """Changes what is known of a person; the row's name goes with the display name.

        Raises:
            InvalidPersonId, NotEnrolled.
        """
        check_person_id(person_id, workspace.env.id_regex)
        with workspace.lock(person_id):
            record = find_person(workspace, person_id)
            given = {name: value for name, value in asdict(change).items() if value is not None}
            known = replace(profile_of(workspace, record), **given, updated_at=now())
            if change.display_name is not None:
                record = replace(record, name=normalise_name(change.display_name))
                known = replace(known, stored_name=record.name)
            workspace.records.commit(record, None, Details(known))
            return known

    def delete_photo(self, workspace: Workspace, person_id: str, photo_id: str, delete_person: bool) -> bool:
        """Deletes a photo, its augmented ones, and their templates; returns whether the person went with it.

        Args:
            delete_person: erase the person where it is the last photo.

        Raises:
            InvalidPersonId, NotEnrolled, PhotoUnknown.
            LastPhoto: it is, and the person is not to be erased.
            ErasureIncomplete: see Enroller.delete.
        """
        check_person_id(person_id, workspace.env.id_regex)
        with workspace.lock(person_id):
            self._reconciler.finish_locked_person(workspace, person_id)
            record = find_person(workspace, person_id)
            names = workspace.photos.names(record.folder)
            if names.get(f"{photo_id}{PNG}") is not False:
                raise PhotoUnknown(f"{person_id!r} has no such photo")
            if list(names.values()).count(False) > 1:
                self._part(workspace, record, names, photo_id)
                return False
            if not delete_person:
                raise LastPhoto(f"it is the last photo of {person_id!r}: delete the person, or say delete_person")
            self._enroller.erase_locked(workspace, person_id)
            return True

    def _part(self, workspace: Workspace, record: PersonRecord, names: Iterable[str], photo_id: str) -> None:
        self._reconciler.embed_missing_locked(workspace, record)  # so that those that stay have their templates
        theirs = [name for name in names if name == f"{photo_id}{PNG}" or name.startswith(f"{photo_id}-aug")]
        keep, folder = tuple(name for name in names if name not in theirs), record.folder
        enrollment_id = new_enrollment_id(record.person_id)
        entry = JournalEntry(enrollment_id, record.person_id, NO_UPLOAD, folder, keep, folder, tuple(theirs))
        profile = replace(profile_of(workspace, record), updated_at=now())
        workspace.records.commit(record, entry, Details(profile))
        self._reconciler.finish_locked(workspace, entry, {})

    def _draft(self, workspace: Workspace, person_id: str, findings: Sequence[Finding], request_id: str) -> Draft:
        when = now()
        shots = [shot for finding in findings for shot in shot_of(finding, Source.PEOPLE, when, request_id)]
        if not shots:
            raise NoUsablePhoto([finding.why for finding in findings])
        return self._drafter.draft(workspace, person_id, shots)

    def _start(self, workspace: Workspace, new: NewPerson, draft: Draft, digest: str) -> Profile:
        row, entry = draft.starting(workspace, normalise_name(new.display_name), None)
        when = now()
        profile = Profile(
            record_id=0,
            person_id=draft.person_id,
            stored_name=row.name,
            display_name=new.display_name,
            external_id=new.external_id,
            labels=new.labels,
            created_at=when,
            updated_at=when,
            request_id=new.request_id,
            request_digest=digest,
        )
        record = self._drafter.commit(workspace, draft, row, entry, profile)
        return replace(profile, record_id=record.record_id)

    @staticmethod
    def _repeated(workspace: Workspace, request_id: str, digest: str) -> Created | None:
        """Whom the same request has enrolled before."""
        found = workspace.people.by_request(request_id) if request_id else None
        record = workspace.records.find(found.person_id) if found else None
        if found is None or record is None or record.record_id != found.record_id:
            return None
        if found.request_digest != digest:
            raise InvalidField("request_id", "another request has had it", "REQUEST_ID_USED")
        return Created(profile_of(workspace, record), _brought(workspace, record, request_id))


def _new_id(workspace: Workspace, new: NewPerson) -> str:
    """The ID of somebody who is not enrolled yet."""
    if new.person_id:
        check_person_id(new.person_id, workspace.env.id_regex)
        if find_record(workspace, new.person_id):
            raise PersonExists(f"{new.person_id!r} is enrolled already")
        return new.person_id
    made = made_ids(workspace.env.id_regex, new.request_id)
    free = (person_id for person_id in made if find_record(workspace, person_id) is None)
    found = next(free, "")
    if not found:
        raise InvalidField("person_id", "nearly all IDs that match ID_REGEX are taken: give one", "PERSON_ID_INVALID")
    return check_person_id(found, workspace.env.id_regex)


def _digest(new: NewPerson, photos: Sequence[NamedPhoto]) -> str:
    """What tells a request from another one."""
    hashes = [sha256(photo.data).hexdigest() for photo in photos] if new.request_id else []
    told = [new.person_id, new.display_name, new.external_id, new.labels, new.reject_similar, hashes]
    return sha256(json.dumps(told).encode()).hexdigest() if new.request_id else ""


def _brought(workspace: Workspace, record: PersonRecord, request_id: str) -> tuple[PhotoReport, ...]:
    """The photos of a person that an earlier request of that ID has brought."""
    known = workspace.people.photos(record.record_id) if request_id else {}
    facts = [one for one in known.values() if one.request_id == request_id]
    return tuple(enrolled("", one) for one in sorted(facts, key=lambda one: one.name))


def _reports(findings: Sequence[Finding], draft: Draft) -> tuple[PhotoReport, ...]:
    facts = iter(draft.facts)
    return tuple(enrolled(one.name, next(facts)) if one.face else one.report for one in findings)
