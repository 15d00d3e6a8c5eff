"""Enrolls people of another installation, page by page.

A page is committed in one transaction, as one enrollment is (draft.py): each person is there whole, or not at all.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from enum import Enum

from services.common.errors import DatabaseRefused, InvalidImage, InvalidRequest
from services.gateway.errors import InvalidField, RecordRefused
from services.gateway.pipeline.draft import Drafter, digests_of, new_enrollment_id, now
from services.gateway.pipeline.parallel import map_parallel
from services.gateway.pipeline.people import normalise_name
from services.gateway.pipeline.profile import profile_of
from services.gateway.pipeline.reconcile import Reconciler, Templates
from services.gateway.pipeline.transfer.kept import KeptPerson, KeptPhoto, check_person, name_here
from services.gateway.stages.types import CropFile, EmbedderStage, EnrollmentPhoto, FaceTemplate, Measure
from services.gateway.storage.profiles import Details, Profile
from services.gateway.storage.types import (
    NO_UPLOAD,
    Commitment,
    FacePhoto,
    JournalEntry,
    PersonRecord,
    Workspace,
)


class ImportOutcome(Enum):
    """What became of somebody who came."""

    IMPORTED = 1
    ADDED = 2
    UNCHANGED = 3
    REFUSED = 4


@dataclass(frozen=True)
class Imported:
    """Somebody who came; `problem` in words where they were refused."""

    person_id: str
    outcome: ImportOutcome
    problem: str = ""


@dataclass(frozen=True)
class _Arrival:
    """Somebody who is to be enrolled, or gets photos."""

    number: int
    commitment: Commitment
    photos: tuple[FacePhoto, ...]
    templates: Templates

    @property
    def entry(self) -> JournalEntry:
        assert self.commitment.entry is not None
        return self.commitment.entry

    @property
    def is_plain(self) -> bool:
        """Whether nothing but what came is to be done for them."""
        return not self.entry.drop and self.templates.keys() == {photo.name for photo in self.photos}

    @property
    def embedded(self) -> tuple[EnrollmentPhoto, ...]:
        """The photos with their templates, where they have all."""
        return tuple(EnrollmentPhoto(one.name, one.augmented, self.templates[one.name]) for one in self.photos)

    @property
    def outcome(self) -> ImportOutcome:
        return ImportOutcome.ADDED if self.commitment.record.record_id else ImportOutcome.IMPORTED


class Importer:
    """Enrolls people of another installation."""

    def __init__(self, embedder: EmbedderStage, drafter: Drafter, reconciler: Reconciler, executor: Executor):
        self._embedder = embedder
        self._drafter = drafter
        self._reconciler = reconciler
        self._executor = executor

    def write(self, workspace: Workspace, people: Sequence[KeptPerson]) -> list[Imported]:
        """Enrolls people under their IDs; who is there already gets the photos that are missing.

        Returns:
            What became of each, in their order.

        Raises:
            RecoError: the database or the embedder is away, or there is no room; some may be enrolled already.
        """
        results: dict[int, Imported] = {}
        checked = [(number, one) for number, one in enumerate(people) if self._fits(workspace, number, one, results)]
        while checked:
            first: dict[str, tuple[int, KeptPerson]] = {}  # part of each, who may be there in several
            for number, one in checked:
                first.setdefault(one.profile.person_id, (number, one))
            self._write(workspace, list(first.values()), results)
            done = {number for number, _ in first.values()}
            checked = [(number, one) for number, one in checked if number not in done]
        return [results[number] for number in range(len(people))]

    @staticmethod
    def _fits(workspace: Workspace, number: int, person: KeptPerson, results: dict[int, Imported]) -> bool:
        try:
            check_person(workspace, person)
        except InvalidRequest as err:
            results[number] = Imported(person.profile.person_id, ImportOutcome.REFUSED, str(err))
            return False
        return True

    def _write(
        self, workspace: Workspace, batch: Sequence[tuple[int, KeptPerson]], results: dict[int, Imported]
    ) -> None:
        versions = self._versions(workspace)
        with workspace.lock(*(one.profile.person_id for _, one in batch)):
            unfinished = {entry.person_id for entry in workspace.records.journal()}
            arrivals = list[_Arrival]()
            for number, one in batch:
                if one.profile.person_id in unfinished:
                    self._reconciler.finish_locked_person(workspace, one.profile.person_id)
                try:
                    arrival = self._arrival(workspace, number, one, versions)
                except (InvalidRequest, InvalidImage) as err:
                    results[number] = Imported(one.profile.person_id, ImportOutcome.REFUSED, str(err))
                    continue
                results[number] = Imported(
                    one.profile.person_id, arrival.outcome if arrival else ImportOutcome.UNCHANGED
                )
                arrivals += [arrival] if arrival else []
            self._enroll(workspace, arrivals, results)

    def _enroll(self, workspace: Workspace, arrivals: Sequence[_Arrival], results: dict[int, Imported]) -> None:
        """All at once; where one is refused by the database, one by one, so that the others are not."""
        try:
            self._commit(workspace, arrivals)
        except RecordRefused as err:
            if len(arrivals) == 1:
                (one,) = arrivals
                results[one.number] = Imported(one.entry.person_id, ImportOutcome.REFUSED, str(err))
                return
            for one in arrivals:
                self._enroll(workspace, [one], results)

    def _commit(self, workspace: Workspace, arrivals: Sequence[_Arrival]) -> None:
        try:
            map_parallel(self._executor, lambda one: _stage(workspace, one), arrivals)
            workspace.records.commit_all([one.commitment for one in arrivals])
        except (DatabaseRefused, OSError) as err:
            for one in arrivals:
                workspace.photos.unstage(one.entry.enrollment_id)
            raise RecordRefused(f"it could not be written: {err}") from err
        plain = [one for one in arrivals if one.is_plain]
        if plain:
            self._drafter.finish_together(workspace, [(one.entry, one.embedded) for one in plain])
        for one in arrivals:
            if not one.is_plain:
                self._drafter.finish(workspace, one.entry, one.templates)

    def _arrival(
        self, workspace: Workspace, number: int, person: KeptPerson, versions: set[tuple[str, str]]
    ) -> _Arrival | None:
        """Somebody with the photos that they lack; None where they lack none.

        Raises:
            InvalidRequest: it is somebody else who has the ID.
            InvalidImage: a photo that came without templates cannot be read.
        """
        profile, record = person.profile, workspace.records.find(person.profile.person_id)
        there = workspace.photos.names(record.folder) if record else {}
        if record and not _is_same(profile_of(workspace, record), profile):
            raise InvalidField("person_id", "another person has it: whose name, or time of enrollment, is another one")
        photos = {name: replace(one.photo, name=name) for one in person.photos if (name := name_here(one)) not in there}
        if record and not photos:
            return None
        if not record and all(photo.augmented for photo in photos.values()):
            raise InvalidField("photos", "one that is not augmented is wanted at least")
        enrollment_id = new_enrollment_id(profile.person_id)
        if record:
            self._reconciler.embed_missing_locked(workspace, record)
            row, known = record, replace(profile_of(workspace, record), updated_at=now())
            entry = JournalEntry(enrollment_id, profile.person_id, NO_UPLOAD, record.folder, tuple(there))
        else:
            row, entry = _starting(workspace, enrollment_id, profile)
            known = replace(profile, stored_name=row.name, created_at=profile.created_at or now(), updated_at=now())
        brought = [(name, one) for one in person.photos if (name := name_here(one)) in photos]
        facts = tuple(replace(one.facts, name=name) for name, one in brought if one.facts and not one.photo.augmented)
        templates = self._templates(workspace, dict(brought), versions)
        details = Details(known, facts, digests_of(photos.values()))
        return _Arrival(number, Commitment(row, entry, details), tuple(photos.values()), templates)

    def _templates(
        self, workspace: Workspace, photos: Mapping[str, KeptPhoto], versions: set[tuple[str, str]]
    ) -> dict[str, tuple[FaceTemplate, ...]]:
        """Of photos, by name: those that came and fit, or that are made; of one without landmarks none is made yet."""
        templates = {name: fitting for name, one in photos.items() if (fitting := _fitting(one.templates, versions))}
        crops = {
            name: CropFile(one.photo.png, one.photo.landmarks)
            for name, one in photos.items()
            if name not in templates and one.photo.landmarks
        }
        made = self._embedder.embed(workspace.models.made, list(crops.values())) if crops else []
        return templates | dict(zip(crops, made, strict=True))

    def _versions(self, workspace: Workspace) -> set[tuple[str, str]]:
        """Models and versions of which whoever is enrolled has templates."""
        facts = self._embedder.describe(Measure(workspace.models.made, workspace.env.sim_func))
        return {(one.name, one.version) for one in facts}


def _is_same(here: Profile, coming: Profile) -> bool:
    """Whether a person of the same ID is the one who comes, as far as it was written down."""
    if here.created_at and coming.created_at:
        return here.created_at == coming.created_at
    return here.stored_name == normalise_name(coming.display_name)


def _starting(workspace: Workspace, enrollment_id: str, profile: Profile) -> tuple[PersonRecord, JournalEntry]:
    name = normalise_name(profile.display_name)
    folder = f"{name}-{profile.person_id}"
    drop = tuple(workspace.photos.names(folder))  # of a row that was deleted by hand
    entry = JournalEntry(enrollment_id, profile.person_id, NO_UPLOAD, folder, (), folder, drop)
    return PersonRecord(0, profile.person_id, name, workspace.photos.path_of(folder)), entry


def _fitting(templates: Sequence[FaceTemplate], versions: set[tuple[str, str]]) -> tuple[FaceTemplate, ...]:
    """Those of the models in use; none where one is missing, for then all are made."""
    found = tuple(one for one in templates if (one.model, one.version) in versions)
    return found if len({one.model for one in found}) == len(versions) else ()


def _stage(workspace: Workspace, arrival: _Arrival) -> None:
    workspace.photos.stage(arrival.entry.enrollment_id, arrival.entry.folder, arrival.photos)
