"""What the gateway does beside requests, in threads of its own."""

import logging
import threading
import time
import uuid
from collections.abc import Callable

from services.common.errors import RecoError
from services.gateway.activity import Activity
from services.gateway.pipeline.operations.runner import Operations
from services.gateway.pipeline.pipeline import Pipeline, Shows
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.retention import Retention
from services.gateway.storage.types import Workspace, Workspaces

log = logging.getLogger("reco")

#: Seconds between searches for enrollments and erasures that were committed and not finished, between those for uploads to
#: be deleted, and between those for long work.
RECONCILE_INTERVAL = 3.0
SWEEP_INTERVAL = 60.0
WORK_INTERVAL = 1.0


def begin_background_work(workspaces: Workspaces, pipeline: Pipeline, retention: Retention, activity: Activity) -> None:
    """From now on, until the process ends."""
    upkeep = Upkeep(pipeline.reconciler, pipeline.directory, retention)
    _begin("reconcile", RECONCILE_INTERVAL, workspaces, upkeep.run)
    holder, operations = uuid.uuid4().hex, pipeline.operations
    _begin("operations", WORK_INTERVAL, workspaces, lambda workspace: _work(workspace, operations, holder))
    _begin("activity", RECONCILE_INTERVAL, workspaces, lambda _: activity.note())


def _begin(name: str, interval: float, workspaces: Workspaces, run: Callable[[Workspace], None]) -> None:
    """Calls something again and again; what fails is told once, and tried again."""

    def loop() -> None:
        complaint = ""
        while True:
            try:
                run(workspaces.open())
                complaint = ""
            except (RecoError, OSError) as err:
                if str(err) != complaint:
                    log.warning("%s: not everything could be done, it is tried again: %s", name, err)
                complaint = str(err)
            time.sleep(interval)

    threading.Thread(target=loop, name=name, daemon=True).start()


def _work(workspace: Workspace, operations: Operations, holder: str) -> None:
    """Does long work as long as there is any, and the settings are the same."""
    operations.follow_models(workspace)
    until = time.monotonic() + RECONCILE_INTERVAL
    while time.monotonic() < until and operations.advance(workspace, holder):
        pass


class Upkeep:
    """Finishes or deletes what processes that died have left; a request that comes first does it for its own person.
    Erases who is not used any more."""

    def __init__(self, reconciler: Reconciler, directory: Shows, retention: Retention):
        self._reconciler = reconciler
        self._directory = directory
        self._retention = retention
        self._cleaned: Workspace | None = None
        self._embedded: Workspace | None = None
        self._swept = 0.0

    def run(self, workspace: Workspace) -> None:
        """Once; raises RecoError, OSError where something could not be done."""
        if workspace is not self._cleaned:
            self._reconciler.clean_up(workspace)
            self._cleaned = workspace
        if time.monotonic() > self._swept + SWEEP_INTERVAL:
            self._reconciler.sweep(workspace)
            self._swept = time.monotonic()
        self._reconciler.finish_all(workspace)
        self._directory.follow(workspace)
        self._retention.sweep(workspace)
        if workspace is not self._embedded:  # last, for it may take long, and need models that are not there
            self._reconciler.embed_all_missing(workspace)
            self._embedded = workspace
