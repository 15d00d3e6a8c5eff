"""Upkeep on demand, which may cost or save time and never changes what is found: caches are deleted, indexes rebuilt."""

from concurrent.futures import ThreadPoolExecutor

from services.common.call import seconds_left
from services.gateway.pipeline.reconcile import PAGE, Reconciler
from services.gateway.stages.types import EmbedderStage
from services.gateway.storage.types import Workspace

#: Seconds of a request's time that are kept for the answer.
ANSWER_TIME = 5.0


class Rebuilder:
    """Deletes cached representations, and makes templates and search indexes anew."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler
        self._background = ThreadPoolExecutor(1, thread_name_prefix="rebuild")

    @staticmethod
    def delete_caches(workspace: Workspace) -> dict[str, bool]:
        """Deletes the pickles that the original has left; returns file name → False where it was gone already."""
        return {name: workspace.photos.delete_cache(name) for name in workspace.photos.cache_files()}

    def rebuild(self, workspace: Workspace) -> list[str] | None:
        """Makes all templates anew from the photos, and the search indexes from them.

        Searches go on with what there is, of each person the old templates or the new.

        Returns:
            The models whose indexes were built; None where that takes longer than the request may last, and goes on.
        """
        rebuilding = self._background.submit(self._rebuild, workspace)
        try:
            return rebuilding.result(timeout=max(0.0, seconds_left() - ANSWER_TIME))
        except TimeoutError:
            return None

    def _rebuild(self, workspace: Workspace) -> list[str]:
        last = 0
        while page := workspace.records.after(last, PAGE):
            for record in page:
                with workspace.lock(record.person_id):
                    self._reconciler.finish_locked_person(workspace, record.person_id)
                    self._reconciler.embed_locked(workspace, record)
            last = page[-1].record_id
        return self._embedder.rebuild_index(workspace.env.selected_models)
