"""Puts the liveness service together."""

import logging
import threading

from reco.liveness.v1 import liveness_pb2_grpc

from services.common.env import EnvFile
from services.common.errors import RecoError
from services.common.log import log_to_stdout
from services.common.metrics import Metrics
from services.common.models import open_models
from services.common.private import keep_files_private
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
    keep_files_private()
    log_to_stdout()
    run(build(Settings.from_environment()), "liveness")


def build(settings: Settings) -> Server:
    """The liveness service's server, its model loaded where that is possible, not started yet."""
    env_file = EnvFile(settings.env_file)

    def model_settings() -> ModelSettings:
        return ModelSettings(*env_file.pick("MODEL_PATH", "MODEL_URL", "MODEL_NAME").values())

    finished = open_models(settings.cache, settings.models, settings.mirror)
    models = LivenessModels(model_settings, finished, settings.cache, settings.threshold)
    _warm_up(models)
    metrics = Metrics("liveness")
    workers = Workers(settings.threads, metrics=metrics.queue("liveness"))
    servicer = LivenessServicer(models, workers, LivenessMetrics(metrics.registry))
    return Server(
        settings.server,
        {SERVICE: lambda server: liveness_pb2_grpc.add_LivenessServiceServicer_to_server(servicer, server)},
        metrics,
        open_tracing("liveness", settings.server.otlp),
    )


def _warm_up(models: LivenessModels) -> None:
    """Loads the model; one that is still to be made is loaded when it is, in the background."""

    def load() -> None:
        try:
            models.current()
        except RecoError as err:
            log.warning("without a liveness model for now: %s", err)

    try:
        is_finished = models.is_finished()
    except RecoError as err:
        log.warning("without a liveness model for now: %s", err)
        return
    if is_finished:
        load()
    else:
        threading.Thread(target=load, name="load-liveness", daemon=True).start()
