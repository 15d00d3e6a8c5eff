"""Upkeep that a request asks for and may wait for: caches are deleted, templates and search indexes made anew."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from services.common.call import seconds_left
from services.gateway.pipeline.operations.runner import Operations
from services.gateway.storage.types import Workspace
from services.gateway.storage.work import OperationState

#: Seconds of a request's time that are kept for the answer.
ANSWER_TIME = 5.0

#: Seconds between looks at what another process does.
PAUSE = 0.1


class Rebuilder:
    """Deletes cached representations, and makes templates and search indexes anew."""

    def __init__(self, operations: Operations):
        self._operations = operations
        self._background = ThreadPoolExecutor(1, thread_name_prefix="rebuild")

    @staticmethod
    def delete_caches(workspace: Workspace) -> dict[str, bool]:
        """Deletes the pickles that the original has left; returns file name → False where it was gone already."""
        return {name: workspace.photos.delete_cache(name) for name in workspace.photos.cache_files()}

    def rebuild(self, workspace: Workspace) -> tuple[str, ...] | None:
        """Makes all templates anew from the photos, and the search indexes from them; see Operations.rebuild.

        Returns:
            The models whose indexes were built; None where that takes longer than the request may last, and goes on, or
            was cancelled.
        """
        operation_id = self._operations.rebuild(workspace).operation_id
        rebuilding = self._background.submit(self._finish, workspace, operation_id)
        try:
            return rebuilding.result(timeout=max(0.0, seconds_left() - ANSWER_TIME))
        except TimeoutError:
            return None

    def _finish(self, workspace: Workspace, operation_id: str) -> tuple[str, ...] | None:
        holder = uuid.uuid4().hex
        while (operation := self._operations.get(workspace, operation_id)).state is OperationState.RUNNING:
            if not self._operations.advance(workspace, holder, operation_id):
                time.sleep(PAUSE)
        return workspace.models.answering if operation.state is OperationState.SUCCEEDED else None
