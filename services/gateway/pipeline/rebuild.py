"""The two upkeep flags of /upload_db: they may cost or save time, never correctness."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.common.call import seconds_left
from services.gateway.pipeline.reconcile import Galleries
from services.gateway.storage.workspace import Workspace

DELETED = 670
GONE_ALREADY = 604
REBUILT = 167

#: Seconds of a request's time that are kept for the answer.
ANSWER_TIME = 5.0


@dataclass(frozen=True)
class Report:
    """What happened, in words, and a code for each thing it happened to."""

    message: str
    codes: dict[str, int]


class Maintenance:
    """Deletes cached representations and rebuilds search indexes."""

    def __init__(self, galleries: Galleries):
        self._galleries = galleries
        self._background = ThreadPoolExecutor(1, thread_name_prefix="rebuild")

    def delete_caches(self, workspace: Workspace, wanted: bool) -> Report:
        """Deletes the pickles that the original has left in DB_PATH."""
        if not wanted:
            return Report("delete_pickles was not set; nothing was deleted.", {})
        codes = {}
        for path in workspace.images.cache_files():
            try:
                path.unlink()
                codes[path.name] = DELETED
            except FileNotFoundError:
                codes[path.name] = GONE_ALREADY
        return Report("Cached representations were deleted." if codes else "There was no cache file to delete.", codes)

    def rebuild(self, workspace: Workspace, wanted: bool, deleted: bool) -> Report:
        """Makes all templates anew from the photos, and the search indexes from them.

        Searches go on with what there is, person by person the old or the new. Where it takes longer than the request may
        last, it goes on in the background.
        """
        if not wanted:
            return Report("rebuild_db was not set; the search index follows by itself.", {})
        if not deleted:
            return Report("Not needed without delete_pickles: the search index is up to date.", {})
        rebuilding = self._background.submit(self._galleries.rebuild, workspace)
        try:
            models = rebuilding.result(timeout=max(0.0, seconds_left() - ANSWER_TIME))
        except TimeoutError:
            return Report("The search indexes are being rebuilt from the photos; searches stay right meanwhile.", {})
        return Report("The search indexes were rebuilt from the photos.", dict.fromkeys(models, REBUILT))
