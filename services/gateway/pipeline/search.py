"""Enrolled people whom faces are compared with, brought up to date first: 1:1 by their ID, 1:N all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.call import seconds_left
from services.common.errors import DatabaseRefused
from services.gateway.errors import NotEnrolled, PersonFolderMissing
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import (
    USUAL,
    AppliedThreshold,
    ClaimDecision,
    EmbedderStage,
    FaceTemplate,
    Limit,
    Measure,
    PersonMatch,
)
from services.gateway.storage.types import PersonRecord, Workspace


@dataclass(frozen=True)
class Found:
    """People who match, best first (of each probe, where so many of each were asked for), and the thresholds applied."""

    people: list[tuple[PersonRecord, PersonMatch]]
    thresholds: tuple[AppliedThreshold, ...]


class EnrolledPeople:
    """Finds people among all who are enrolled."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def get(self, workspace: Workspace, person_id: str) -> PersonRecord:
        """The person of an ID, whose committed enrollments are finished.

        Raises:
            NotEnrolled, PersonFolderMissing, DatabaseUnavailable.
        """
        try:
            self._reconciler.finish_enrollments(workspace, person_id)
            record = workspace.records.find(person_id)
        except DatabaseRefused as err:
            raise NotEnrolled(str(err)) from err
        if record is None:
            raise NotEnrolled(f"{person_id!r} is not enrolled")
        if not workspace.photos.has(record.folder):
            raise PersonFolderMissing(f"the folder of {person_id!r} is gone")
        return record

    def verify(
        self,
        workspace: Workspace,
        record: PersonRecord,
        measure: Measure,
        needed: tuple[int, int],
        probes: Sequence[tuple[FaceTemplate, ...]],
    ) -> ClaimDecision:
        """Whether probes show a person, whose missing templates are made first; see EmbedderStage.verify."""
        decision = self._embedder.verify(record.person_id, measure, needed, probes)
        if decision.unenrolled:
            self._reconciler.embed_missing(workspace, record)
            decision = self._embedder.verify(record.person_id, measure, needed, probes)
        return decision

    def search(
        self, workspace: Workspace, probes: Sequence[tuple[FaceTemplate, ...]], top_k: int = 0, limit: Limit = USUAL
    ) -> Found:
        """Whom the probes show; again where people had no templates, or templates had no row, until all have.

        Args:
            top_k: see EmbedderStage.identify.
        """
        self._reconciler.finish_enrollments(workspace)
        measure = Measure(workspace.models.answering, workspace.env.sim_func, limit)
        while True:
            identified = self._embedder.identify(measure, probes, top_k)
            embedded = self._reconciler.embed_all_missing(workspace, identified.generation)
            named = dict.fromkeys(match.person_id for match in identified.matches)
            records = {person_id: workspace.records.find(person_id) for person_id in named}
            orphaned = [person_id for person_id, record in records.items() if record is None]
            if not (orphaned or embedded) or seconds_left() < 1:
                found = [(records[match.person_id], match) for match in identified.matches]
                people = [(record, match) for record, match in found if record is not None]
                return Found(people, identified.thresholds)
            for person_id in orphaned:
                self._reconciler.remove_orphaned(workspace, person_id)
