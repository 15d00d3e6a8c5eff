"""Re-embedding: after SELECTED_MODELS has changed, everybody gets templates of the new models before those answer.

Until then the earlier models answer. Their templates are kept until the next change, so that going back to them is quick.
"""

import time
from dataclasses import replace

from services.gateway.pipeline.reconcile import PAGE, Reconciler
from services.gateway.stages.types import EmbedderStage
from services.gateway.storage.types import Workspace
from services.gateway.storage.work import Operation, OperationState

#: Seconds after which a piece ends.
PIECE = 2.0


class Reembedding:
    """Makes the templates of new models."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def advance(self, workspace: Workspace, operation: Operation) -> Operation:
        """Embeds some people who lack templates; once nobody is left, the new models answer."""
        until = time.monotonic() + PIECE
        page = workspace.records.after(operation.position, PAGE)
        if not page:
            return self._finish(workspace, operation)
        lacking = set(self._embedder.unenrolled([record.person_id for record in page], operation.models))
        done, last = 0, operation.position
        for record in page:
            if record.person_id in lacking:
                with workspace.lock(record.person_id):
                    self._reconciler.finish_locked_person(workspace, record.person_id)
                    self._reconciler.embed_by_locked(workspace, record, operation.models)
            done, last = done + 1, record.record_id
            if time.monotonic() > until:
                break
        return replace(operation, position=last, done=operation.done + done)

    def _finish(self, workspace: Workspace, operation: Operation) -> Operation:
        self._embedder.rebuild_index(operation.models)
        kept = workspace.operations.settle()
        self._embedder.drop_others(kept)
        return replace(operation, state=OperationState.SUCCEEDED)
