"""Rebuilding: templates and search indexes are made anew, which may cost or save time and never changes what is found."""

import time
from dataclasses import replace

from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import EmbedderStage
from services.gateway.storage.types import Workspace
from services.gateway.storage.work import Operation, OperationState

#: Seconds after which a piece ends, and people read at a time.
PIECE, PAGE = 2.0, 100


class Rebuilding:
    """Makes all templates anew from the photos, and the search indexes from them.

    Searches go on with what there is, of each person the old templates or the new.
    """

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def advance(self, workspace: Workspace, operation: Operation) -> Operation:
        """Embeds some people."""
        until = time.monotonic() + PIECE
        page = workspace.records.after(operation.position, PAGE)
        if not page:
            self._embedder.rebuild_index(workspace.models.answering)
            return replace(operation, state=OperationState.SUCCEEDED)
        done, last = 0, operation.position
        for record in page:
            with workspace.lock(record.person_id):
                self._reconciler.finish_locked_person(workspace, record.person_id)
                self._reconciler.embed_locked(workspace, record)
            done, last = done + 1, record.record_id
            if time.monotonic() > until:
                break
        return replace(operation, position=last, done=operation.done + done)
