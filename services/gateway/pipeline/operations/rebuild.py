"""Rebuilding: what is derived from photos is made anew, which costs or saves time and never changes what is found."""

from dataclasses import replace

from services.gateway.pipeline.operations.pieces import one_by_one
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import EmbedderStage
from services.gateway.storage.types import PersonRecord, Workspace
from services.gateway.storage.work import Operation, OperationState

#: People read at a time.
PAGE = 100


class Rebuilding:
    """Makes templates anew of photos that are not what they were made of, and the search indexes from all templates.

    Searches go on with what there is, of each person the old templates or the new.
    """

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def advance(self, workspace: Workspace, operation: Operation) -> Operation:
        """Embeds some people."""
        page = workspace.records.after(operation.position, PAGE)
        if not page:
            self._embedder.rebuild_index(workspace.models.answering)
            return replace(operation, state=OperationState.SUCCEEDED)

        def embed(record: PersonRecord) -> None:
            with workspace.lock(record.person_id):
                self._reconciler.finish_locked_person(workspace, record.person_id)
                self._reconciler.embed_changed_locked(workspace, record)

        return one_by_one(operation, page, embed)
