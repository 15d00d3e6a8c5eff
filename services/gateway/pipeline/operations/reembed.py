"""Re-embedding: after SELECTED_MODELS has changed, everybody gets templates of the new models before those answer.

Until then the earlier models answer. Their templates are kept until the next change, so that going back to them is quick.
"""

from dataclasses import replace

from services.gateway.pipeline.operations.pieces import one_by_one
from services.gateway.pipeline.reconcile import PAGE, Reconciler
from services.gateway.stages.types import EmbedderStage
from services.gateway.storage.types import PersonRecord, Workspace
from services.gateway.storage.work import Operation, OperationState


class Reembedding:
    """Makes the templates of new models."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def advance(self, workspace: Workspace, operation: Operation) -> Operation:
        """Embeds some people who lack templates; once nobody is left, the new models answer."""
        page = workspace.records.after(operation.position, PAGE)
        if not page:
            return self._finish(workspace, operation)
        lacking = set(self._embedder.unenrolled([record.person_id for record in page], operation.models))

        def embed(record: PersonRecord) -> None:
            if record.person_id in lacking:
                with workspace.lock(record.person_id):
                    self._reconciler.finish_locked_person(workspace, record.person_id)
                    self._reconciler.embed_by_locked(workspace, record, operation.models)

        return one_by_one(operation, page, embed)

    def _finish(self, workspace: Workspace, operation: Operation) -> Operation:
        self._embedder.rebuild_index(operation.models)
        kept = workspace.operations.settle()
        self._embedder.drop_others(kept)
        return replace(operation, state=OperationState.SUCCEEDED)
