"""Is somebody who is to be enrolled here already, under another ID?"""

from dataclasses import dataclass

from services.gateway.pipeline.draft import Draft
from services.gateway.pipeline.profile import profile_of
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.stages.types import EmbedderStage, Measure
from services.gateway.storage.profiles import Profile
from services.gateway.storage.types import Workspace

#: How many are told, and with how many faces they are looked for.
MOST = 10
MAX_PROBES = 16


@dataclass(frozen=True)
class Similar:
    """Somebody whose photos match; distances up to `threshold` do."""

    person: Profile
    distance: float
    threshold: float


class Searcher:
    """Looks for people who look like a draft's."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def similar(self, workspace: Workspace, draft: Draft, thorough: bool) -> tuple[Similar, ...]:
        """Other people whom the draft's faces match, best first, as of now.

        Args:
            thorough: first finish what is committed of anybody's enrollment, and make templates that people lack.
        """
        if thorough:
            self._reconciler.finish_enrollments(workspace)
            self._reconciler.embed_all_missing(workspace)
        probes = [draft.templates[facts.name] for facts in draft.facts][:MAX_PROBES]
        measure = Measure(workspace.models.answering, workspace.env.sim_func)
        found = []
        for match in self._embedder.identify(measure, probes).matches:
            record = workspace.records.find(match.person_id) if match.person_id != draft.person_id else None
            if record:
                found.append(Similar(profile_of(workspace, record), match.distance, match.threshold))
            if len(found) == MOST:
                break
        return tuple(found)
