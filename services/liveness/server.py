"""Puts the liveness service together."""

import logging

from reco.liveness.v1 import liveness_pb2_grpc

from services.common.env import EnvFile
from services.common.errors import RecoError
from services.common.log import log_to_stdout
from services.common.metrics import Metrics
from services.common.server import Server, run
from services.common.tracing import open_tracing
from services.common.workers import Workers
from services.liveness.metrics import LivenessMetrics
from services.liveness.model import LivenessModels, ModelSettings
from services.liveness.servicer import LivenessServicer
from services.liveness.settings import Settings

log = logging.getLogger("reco")

SERVICE = "reco.liveness.v1.LivenessService"


def main() -> None:
    """Runs the liveness service until it is told to stop."""
    log_to_stdout()
    run(build(Settings.from_environment()), "liveness")


def build(settings: Settings) -> Server:
    """The liveness service's server, its model loaded where that is possible, not started yet."""
    env_file = EnvFile(settings.env_file)

    def model_settings() -> ModelSettings:
        return ModelSettings(*env_file.pick("MODEL_PATH", "MODEL_URL", "MODEL_NAME").values())

    models = LivenessModels(model_settings, settings.mirror, settings.threshold, settings.cache)
    try:
        models.current()
    except RecoError as err:
        log.warning("without a liveness model for now: %s", err)
    metrics = Metrics("liveness")
    workers = Workers(settings.threads, metrics=metrics.queue("liveness"))
    servicer = LivenessServicer(models, workers, LivenessMetrics(metrics.registry))
    return Server(
        settings.server,
        {SERVICE: lambda server: liveness_pb2_grpc.add_LivenessServiceServicer_to_server(servicer, server)},
        metrics,
        open_tracing("liveness", settings.server.otlp),
    )
