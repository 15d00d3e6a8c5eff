"""Puts the detector together."""

from reco.detector.v1 import detector_pb2_grpc

from services.common.errors import ModelUnavailable
from services.common.log import log_to_stdout
from services.common.metrics import Metrics
from services.common.models import Wanted, open_models
from services.common.private import keep_files_private
from services.common.server import Server, run
from services.common.tracing import open_tracing
from services.common.workers import Workers
from services.detector.metrics import DetectorMetrics
from services.detector.model import MODEL, YUNET, Detector, open_finder, open_yunet
from services.detector.mtcnn import Finder
from services.detector.servicer import DetectorServicer
from services.detector.settings import Settings

#: Seconds that making the networks may take at a first start: without them there is nothing to serve.
START_TIMEOUT = 600.0

SERVICE = "reco.detector.v1.DetectorService"


def main() -> None:
    """Runs the detector until it is told to stop."""
    keep_files_private()
    log_to_stdout()
    try:
        server = build(Settings.from_environment())
    except ModelUnavailable as err:
        raise SystemExit(str(err)) from err
    run(server, "detector")


def build(settings: Settings) -> Server:
    """The detector's server, its networks loaded, not started yet; raises ModelUnavailable where they cannot be had."""
    metrics = Metrics("detector")
    workers = Workers(settings.threads, metrics=metrics.queue("detector"))
    models = open_models(settings.cache, settings.models, settings.mirror)
    mtcnn = open_finder(models.get(Wanted(MODEL, settings.models), START_TIMEOUT))
    finder: Finder = mtcnn
    if settings.finder == YUNET:
        finder = open_yunet(models.get(Wanted(YUNET, settings.models), START_TIMEOUT), mtcnn)
    detector = Detector(finder)
    servicer = DetectorServicer(detector, workers, DetectorMetrics(metrics.registry))
    return Server(
        settings.server,
        {SERVICE: lambda server: detector_pb2_grpc.add_DetectorServiceServicer_to_server(servicer, server)},
        metrics,
        open_tracing("detector", settings.server.otlp),
    )
