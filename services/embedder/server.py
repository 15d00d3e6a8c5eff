"""Puts the embedder together."""

import logging
from functools import partial
from hashlib import blake2b

from reco.embedder.v1 import embedder_pb2_grpc

from deploy.models.weights import WeightStore
from services.common.database import Database
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.common.log import log_to_stdout
from services.common.metrics import Metrics
from services.common.server import Server, run
from services.common.tracing import open_tracing
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import model_key
from services.embedder.integer_products import IntegerProducts
from services.embedder.metrics import EmbedderMetrics
from services.embedder.model import Embedder
from services.embedder.recognition import catalogue as models
from services.embedder.recognition import recogniser as recogniser
from services.embedder.recognition.registry import Recognisers
from services.embedder.search.exact import ExactIndex
from services.embedder.search.follow import LiveIndexes
from services.embedder.search.index import Indexes
from services.embedder.search.milvus.collections import Ledger
from services.embedder.servicer import EmbedderServicer
from services.embedder.settings import Settings

log = logging.getLogger("reco")

SERVICE = "reco.embedder.v1.EmbedderService"


def main() -> None:
    """Runs the embedder until it is told to stop."""
    log_to_stdout()
    run(build(Settings.from_environment()), "embedder")


def build(settings: Settings) -> Server:
    """The embedder's server, its selected models warm, not started yet."""
    metrics = Metrics("embedder")
    counted = EmbedderMetrics(metrics.registry)
    env_file = EnvFile(settings.env_file)
    database = Database(env_file.root)
    store = WeightStore(settings.models, settings.mirror)
    load = partial(
        recogniser.load,
        store=store,
        cache=settings.cache,
        threads=settings.threads,
        mirror=not settings.one_view,
        queue=metrics.queue,
    )
    recognisers = Recognisers(models.find, load)
    gallery = Gallery(lambda: database.engine(env_file.sql()))
    indexes = _indexes(settings, gallery, counted)
    servicer = EmbedderServicer(Embedder(recognisers, gallery, indexes), counted)
    _warm_up(env_file, recognisers, indexes)
    return Server(
        settings.server,
        {SERVICE: lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(servicer, server)},
        metrics,
        open_tracing("embedder", settings.server.otlp),
    )


def _indexes(settings: Settings, gallery: Gallery, counted: EmbedderMetrics) -> Indexes:
    """In this process, or where VECTOR_URI is set in Milvus, whose client is loaded only then."""
    if not settings.vector_uri:
        products, directory = IntegerProducts(settings.cache), settings.cache / "index"
        return LiveIndexes(gallery, lambda dimension: ExactIndex(dimension, products, directory), counted.indexed)
    try:
        from services.embedder.search.milvus.index import Milvus
        from services.embedder.search.milvus.shared import SharedIndexes
    except ImportError as err:
        raise SystemExit(f"VECTOR_URI is set, which needs requirements/milvus.txt to be installed: {err}") from err
    place = blake2b(settings.vector_uri.encode(), digest_size=16).hexdigest()
    milvus = Milvus(settings.vector_uri, settings.vector_token)
    return SharedIndexes(gallery, Ledger(gallery, place), milvus, counted.indexed)


def _warm_up(env_file: EnvFile, recognisers: Recognisers, indexes: Indexes) -> None:
    """Loads the models that `.env` selects, and whom they know; what cannot be loaded now is when it is asked for."""
    try:
        for name in env_file.pick("SELECTED_MODELS")["selected_models"]:
            recogniser = recognisers.get(name)
            recogniser.warm_up()
            indexes.current(model_key(recogniser.name, recogniser.version), recogniser.dimension)
    except RecoError as err:
        log.warning("not every selected model is ready: %s", err)
