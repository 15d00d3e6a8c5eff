"""Begins long work, and does it piece by piece.

How far an operation has got is written down after each piece. Whoever works on it holds it for LEASE seconds from then on;
if they die, another gateway, or they themselves after a restart, take it from there.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from services.common import call
from services.common.errors import ModelUnavailable, RecoError, UnknownModel
from services.gateway.errors import OperationNeeded, OperationUnknown
from services.gateway.pipeline.operations.rebuild import Rebuilding
from services.gateway.pipeline.operations.reembed import Reembedding
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import EmbedderStage, Measure
from services.gateway.storage.types import Workspace
from services.gateway.storage.work import ModelChoice, Operation, OperationKind, OperationState

log = logging.getLogger("reco")

#: Seconds. A piece that takes longer, as building the indexes of a large gallery may, can be begun by another one as well.
LEASE = 30.0

#: Whose the operations are that a change of the settings begins.
SETTINGS = "settings"

Advance = Callable[[Workspace, Operation], Operation]


class Operations:
    """Long work of a workspace. Safe to use from several threads."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._advance: Mapping[OperationKind, Advance] = {
            OperationKind.REEMBED: Reembedding(embedder, reconciler).advance,
            OperationKind.REBUILD: Rebuilding(embedder, reconciler).advance,
        }
        self._settled: Workspace | None = None

    def all(self, workspace: Workspace) -> Sequence[Operation]:
        """Those that run, and the latest that have ended; the latest first."""
        return workspace.operations.all()

    def get(self, workspace: Workspace, operation_id: str) -> Operation:
        """One of them; raises OperationUnknown."""
        found = workspace.operations.find(operation_id)
        if found is None:
            raise OperationUnknown("there is no such operation, or it ended long ago")
        return found

    def rebuild(self, workspace: Workspace) -> Operation:
        """Begins to make all templates anew from the photos, and the search indexes from them; where that is going on
        already, that one is returned."""
        return workspace.operations.begin(OperationKind.REBUILD, workspace.records.count(), call.key_name.get())

    def cancel(self, workspace: Workspace, operation_id: str) -> Operation:
        """Ends an operation; what it has done stays, and does no harm. One that has ended stays as it is.

        Raises:
            OperationUnknown.
            OperationNeeded: it would begin again, as long as the settings ask for it.
        """
        found = self.get(workspace, operation_id)
        if found.kind is OperationKind.REEMBED and found.state is OperationState.RUNNING:
            raise OperationNeeded("SELECTED_MODELS asks for it: set it back, and it is cancelled")
        workspace.operations.cancel(operation_id)
        return self.get(workspace, operation_id)

    def follow_models(self, workspace: Workspace) -> None:
        """Begins to embed people by the models that SELECTED_MODELS names, where that has changed, and cancels what an
        earlier change began.

        Raises:
            RecoError: the database or the embedder cannot be asked.
        """
        models = workspace.models
        if models.are_changing and self._can_answer(workspace, models):
            self._cancel_others(workspace, models.wanted)
            workspace.operations.begin(OperationKind.REEMBED, workspace.records.count(), SETTINGS)
        elif models.are_changing or self._settled is not workspace:
            self._cancel_others(workspace, ())
            workspace.operations.settle()
            self._settled = workspace

    def advance(self, workspace: Workspace, holder: str, operation_id: str | None = None) -> bool:
        """Does a piece of the oldest operation that nobody else works on, or of that one; False where there is none.

        Args:
            holder: who works on it, unlike anybody else: a thread of a process.

        Raises:
            RecoError, OSError: it could not; it is to be tried again.
        """
        operation = workspace.operations.take(holder, time.time() + LEASE, operation_id)
        if operation is None:
            return False
        try:
            done = replace(self._advance[operation.kind](workspace, operation), problem="")
        except (RecoError, OSError) as err:
            workspace.operations.save(replace(operation, problem=str(err)), holder, time.time())
            raise
        ended = done.state is not OperationState.RUNNING
        done = replace(done, ended_at=time.time_ns() // 1000 if ended else 0)
        return workspace.operations.save(done, holder, time.time() + LEASE)

    def _can_answer(self, workspace: Workspace, models: ModelChoice) -> bool:
        """Whether the models that answer still can; if not, nothing is gained by waiting for the others."""
        try:
            self._embedder.describe(Measure(models.answering, workspace.env.sim_func))
        except (UnknownModel, ModelUnavailable) as err:
            log.warning("%s cannot answer any more: %s", ", ".join(models.answering), err)
            return False
        return True

    @staticmethod
    def _cancel_others(workspace: Workspace, wanted: Sequence[str]) -> None:
        """Ends the re-embedding by other models than those."""
        for one in workspace.operations.all():
            running = one.kind is OperationKind.REEMBED and one.state is OperationState.RUNNING
            if running and set(one.models) != set(wanted):
                workspace.operations.cancel(one.operation_id)
