"""Puts the embedder together."""

import logging
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from reco.embedder.v1 import embedder_pb2_grpc

from services.common.database import Database
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.common.log import log_to_stdout
from services.common.metrics import Metrics
from services.common.models import Models, Wanted, open_models
from services.common.private import keep_files_private
from services.common.server import Server, run
from services.common.tracing import open_tracing
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import model_key
from services.embedder.metrics import EmbedderMetrics
from services.embedder.model import Embedder
from services.embedder.recognition import catalogue, recogniser
from services.embedder.recognition.calibration import calibrated, read
from services.embedder.recognition.registry import Recogniser, Recognisers
from services.embedder.search.exact import ExactIndex
from services.embedder.search.follow import LocalIndexes
from services.embedder.search.index import Indexes
from services.embedder.search.milvus.collections import CollectionTable
from services.embedder.servicer import EmbedderServicer
from services.embedder.settings import Settings

log = logging.getLogger("reco")

SERVICE = "reco.embedder.v1.EmbedderService"


def main() -> None:
    """Runs the embedder until it is told to stop."""
    keep_files_private()
    log_to_stdout()
    run(build(Settings.from_environment()), "embedder")


def build(settings: Settings) -> Server:
    """The embedder's server, its selected models warm, not started yet."""
    metrics = Metrics("embedder")
    counted = EmbedderMetrics(metrics.registry)
    env_file = EnvFile(settings.env_file)
    database = Database(env_file.root)
    models = open_models(settings.cache, settings.models, settings.mirror)
    recognisers = Recognisers(_specs(settings.calibration), _loader(settings, models, metrics), settings.rates)
    gallery = Gallery(lambda: database.engine(env_file.sql()), settings.keyring)
    indexes = _indexes(settings, gallery, counted)
    servicer = EmbedderServicer(Embedder(recognisers, gallery, indexes), counted)
    _warm_up(env_file, lambda name: models.find(Wanted(name, settings.models)) is not None, recognisers, indexes)
    return Server(
        settings.server,
        {SERVICE: lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(servicer, server)},
        metrics,
        open_tracing("embedder", settings.server.otlp),
    )


def _specs(calibration: Path) -> Callable[[str], catalogue.ModelSpec]:
    """What is known of models, with this site's own thresholds."""
    try:
        curves = read(calibration)
    except ValueError as err:
        raise SystemExit(str(err)) from err
    for name in curves:
        log.info("thresholds of %s as calibrated here, in %s", name, calibration)
    return calibrated(catalogue.find, curves)


def _indexes(settings: Settings, gallery: Gallery, counted: EmbedderMetrics) -> Indexes:
    """In this process, or where VECTOR_URI is set in Milvus, whose client is loaded only then."""
    if not settings.vector_uri:
        directory = settings.cache / "index"
        return LocalIndexes(gallery, lambda dimension: ExactIndex(dimension, directory), counted.indexed)
    try:
        from services.embedder.search.milvus.index import Milvus
        from services.embedder.search.milvus.shared import SharedIndexes
    except ImportError as err:
        raise SystemExit(f"VECTOR_URI is set, which needs requirements/milvus.txt to be installed: {err}") from err
    place = blake2b(settings.vector_uri.encode(), digest_size=16).hexdigest()
    milvus = Milvus(settings.vector_uri, settings.vector_token)
    return SharedIndexes(gallery, CollectionTable(gallery, place), milvus, counted.indexed)


def _loader(settings: Settings, models: Models, metrics: Metrics) -> Callable[[str], Recogniser]:
    def load(name: str) -> Recogniser:
        spec = catalogue.find(name)
        return recogniser.load(
            spec.one_view() if settings.one_view else spec,
            models.get(Wanted(name, settings.models)),
            settings.cache,
            threads=settings.threads,
            queue=metrics.queue,
        )

    return load


def _warm_up(env_file: EnvFile, is_finished: Callable[[str], bool], recognisers: Recognisers, indexes: Indexes) -> None:
    """Loads the models that `.env` selects, and whom they know.

    One that is still to be made is loaded when it is, in the background: the others are served meanwhile.
    """

    def load(name: str) -> None:
        try:
            loaded = recognisers.get(name)
            indexes.current(model_key(loaded.name, loaded.version), loaded.dimension)
        except RecoError as err:
            log.warning("not every selected model is ready: %s", err)

    try:
        selected = env_file.pick("SELECTED_MODELS")["selected_models"]
    except RecoError as err:
        log.warning("no model is loaded yet: %s", err)
        return
    for name in selected:
        if is_finished(name):
            load(name)
        else:
            threading.Thread(target=load, args=(name,), name=f"load-{name}", daemon=True).start()
