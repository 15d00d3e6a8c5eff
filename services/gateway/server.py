"""Puts the gateway together."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from reco.gateway.v1 import gateway_pb2_grpc, legacy_pb2_grpc

from services.common.database import Database
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.common.log import attach, log_to_stdout
from services.common.metrics import CallMetrics, Metrics
from services.common.server import Server, run
from services.common.tracing import open_tracing
from services.gateway.api.grpc import GatewayServicer
from services.gateway.api.rest import LegacyServicer
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.enroll import Enrollments
from services.gateway.pipeline.rebuild import Maintenance
from services.gateway.pipeline.reconcile import Galleries
from services.gateway.pipeline.upload import Intake
from services.gateway.pipeline.verify import Verifications
from services.gateway.settings import Settings
from services.gateway.stages.channels import open_channel
from services.gateway.stages.clients import DetectorClient, EmbedderClient, LivenessClient
from services.gateway.storage.log_file import SharedFileHandler
from services.gateway.storage.workspace import Workspace, Workspaces

log = logging.getLogger("reco")

#: Seconds between looks for enrollments that somebody committed and did not finish.
SWEEP_INTERVAL = 3.0


def main() -> None:
    """Runs the gateway until it is told to stop."""
    settings = Settings.from_environment()
    log_to_stdout()
    log_file = SharedFileHandler()
    attach(log_file)
    run(build(settings, log_file), "gateway")


def build(settings: Settings, log_file: SharedFileHandler) -> Server:
    """The gateway's server, not started yet."""
    metrics, tracing = Metrics("gateway"), open_tracing("gateway", settings.server.otlp)
    calls, counted = CallMetrics("client", metrics.registry), GatewayMetrics(metrics.registry)
    detector = DetectorClient(open_channel(settings.detector, calls, tracing))
    liveness = LivenessClient(open_channel(settings.liveness, calls, tracing))
    embedder = EmbedderClient(open_channel(settings.embedder, calls, tracing))
    executor = ThreadPoolExecutor(settings.parallel, thread_name_prefix="photo")
    env_file = EnvFile(settings.env_file)
    workspaces = Workspaces(env_file, Database(env_file.root), log_file)
    galleries = Galleries(detector, embedder, executor)
    intake = Intake(detector, executor)
    enrollments = Enrollments(detector, embedder, galleries, executor)
    verifications = Verifications(detector, liveness, embedder, galleries, executor)
    legacy = LegacyServicer(workspaces, intake, enrollments, verifications, Maintenance(galleries), counted)
    typed = GatewayServicer(workspaces, intake, enrollments, verifications, counted)
    threading.Thread(target=_sweep, args=(workspaces, galleries), name="sweep", daemon=True).start()
    return Server(
        settings.server,
        {
            "reco.gateway.v1.LegacyService": lambda server: legacy_pb2_grpc.add_LegacyServiceServicer_to_server(
                legacy, server
            ),
            "reco.gateway.v1.GatewayService": lambda server: gateway_pb2_grpc.add_GatewayServiceServicer_to_server(
                typed, server
            ),
        },
        metrics,
        tracing,
    )


def _sweep(workspaces: Workspaces, galleries: Galleries) -> None:
    """Finishes or removes what processes that died have left; a request that comes first does it for its own person."""
    swept: Workspace | None = None
    while True:
        try:
            workspace = workspaces.open()
            if workspace is not swept:
                galleries.sweep(workspace)
                galleries.adopt_all(workspace)
                swept = workspace
            galleries.recover(workspace)
        except (RecoError, OSError) as err:
            log.debug("nothing was swept: %s", err)
        time.sleep(SWEEP_INTERVAL)
