"""Puts the gateway together."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

import grpc
from reco.access.v1 import ext_authz_pb2_grpc
from reco.gateway.v1 import (
    access_pb2_grpc,
    console_pb2_grpc,
    events_pb2_grpc,
    faces_pb2_grpc,
    gateway_pb2_grpc,
    info_pb2_grpc,
    operations_pb2_grpc,
    people_pb2_grpc,
    readiness_pb2_grpc,
    transfer_pb2_grpc,
)

from services.common.database import Database
from services.common.env import EnvFile
from services.common.log import attach, log_to_stdout
from services.common.metrics import CallMetrics, Metrics
from services.common.private import keep_files_private
from services.common.server import Server, run
from services.common.tracing import open_tracing
from services.gateway.access.attempts import Attempts
from services.gateway.access.audit import AuditFile, Event
from services.gateway.access.decision import Access
from services.gateway.access.keyring import AccessKeys, KeyTables
from services.gateway.access.open import ADVICE, MAKE_KEY
from services.gateway.activity import Activity
from services.gateway.allocation import give_back_large_blocks
from services.gateway.api import legacy_requests
from services.gateway.api.access import AccessBooks, AccessServicer
from services.gateway.api.authorisation import AuthorizationServicer
from services.gateway.api.console import ConsoleServicer
from services.gateway.api.events import EventsServicer
from services.gateway.api.faces import FacesServicer
from services.gateway.api.form_messages import FormServicer
from services.gateway.api.grpc import GatewayServicer
from services.gateway.api.info import InfoServicer
from services.gateway.api.operations import OperationsServicer
from services.gateway.api.people import PeopleServicer
from services.gateway.api.readiness import ReadinessServicer
from services.gateway.api.receiving import Receiver, UploadBounds
from services.gateway.api.rest import LegacyServicer
from services.gateway.api.transfer import TransferServicer
from services.gateway.background import begin_background_work
from services.gateway.events.watchers import Watchers
from services.gateway.events.webhook import Webhook
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.audited import Audit, audited
from services.gateway.pipeline.directory import Directory
from services.gateway.pipeline.draft import Drafter
from services.gateway.pipeline.duplicates import Duplicates
from services.gateway.pipeline.enroll import Enroller
from services.gateway.pipeline.examine import Examiner
from services.gateway.pipeline.faces import FaceReader
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.operations.runner import Operations
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.registrar import Registrar
from services.gateway.pipeline.retention import Retention
from services.gateway.pipeline.search import EnrolledPeople
from services.gateway.pipeline.similar import Searcher
from services.gateway.pipeline.transfer.exporting import Exporter
from services.gateway.pipeline.transfer.importing import Importer
from services.gateway.pipeline.upkeep import Rebuilder
from services.gateway.pipeline.upload import Uploader
from services.gateway.pipeline.verify import Verifier
from services.gateway.settings import Settings
from services.gateway.stages.channels import open_channel
from services.gateway.stages.detector import DetectorClient
from services.gateway.stages.embedder import EmbedderClient
from services.gateway.stages.health import StageHealth
from services.gateway.stages.liveness import LivenessClient
from services.gateway.stages.types import EmbedderStage, Stages
from services.gateway.storage.log_file import SharedFileHandler
from services.gateway.storage.stores import open_stores
from services.gateway.storage.workspace import EnvWorkspaces


def main() -> None:
    """Runs the gateway until it is told to stop."""
    give_back_large_blocks()
    settings = Settings.from_environment()
    keep_files_private()
    log_to_stdout()
    log_file = SharedFileHandler()
    attach(log_file)
    run(build(settings, log_file), "gateway")


def build(settings: Settings, log_file: SharedFileHandler) -> Server:
    """The gateway's server, not started yet; what processes that died have left is cleared up from now on.

    Raises:
        SystemExit: all would be let in, and nobody said that they may be.
    """
    metrics, tracing = Metrics("gateway"), open_tracing("gateway", settings.server.otlp)
    calls, counted = CallMetrics("client", metrics.registry), GatewayMetrics(metrics.registry)
    targets = {"detector": settings.detector, "liveness": settings.liveness, "embedder": settings.embedder}
    identity = settings.server.identity
    channels = {name: open_channel(target, calls, tracing, name, identity) for name, target in targets.items()}
    clients = (DetectorClient(channels["detector"]), LivenessClient(channels["liveness"]))
    stages = Stages(*clients, EmbedderClient(channels["embedder"]))
    executor = ThreadPoolExecutor(settings.parallel, thread_name_prefix="photo")
    env_file = EnvFile(settings.env_file)
    database = Database(env_file.root)
    access = open_access(settings, env_file, database)
    audit_file, watchers = AuditFile(env_file, settings.audit_log), Watchers()
    audit = told(audit_file.record, watchers, settings.webhook)
    books = AccessBooks(KeyTables(env_file, database).open, lambda: audit_file.path, audit)
    stores = open_stores(settings.photos, settings.uploads, settings.keyring)
    workspaces = EnvWorkspaces(env_file, database, log_file, stores)
    attempts, uses = Attempts(settings.attempts), LastUses(enabled=settings.person_days > 0)
    pipeline = audited(build_pipeline(stages, executor, attempts, uses, settings.fused), audit)
    retention = Retention(pipeline.enroller, uses, settings.person_days)
    activity = Activity(metrics.registry)
    begin_background_work(workspaces, pipeline, retention, activity)
    legacy = LegacyServicer(workspaces, pipeline, counted, Receiver(UploadBounds(pause=settings.upload_pause)))
    asked = AuthorizationServicer(access, audit)
    services: dict[str, Callable[[grpc.Server], None]] = {
        legacy_requests.SERVICE: partial(legacy_requests.add_to_server, legacy),
        **_typed_services(workspaces, pipeline, counted, stages.embedder),
        "reco.gateway.v1.OperationsService": partial(
            operations_pb2_grpc.add_OperationsServiceServicer_to_server,
            OperationsServicer(workspaces, pipeline.operations, activity),
        ),
        **_services_about_it(books, watchers, StageHealth(channels)),
        "envoy.service.auth.v3.Authorization": partial(ext_authz_pb2_grpc.add_AuthorizationServicer_to_server, asked),
    }
    return Server(settings.server, services, metrics, tracing)


def _typed_services(
    workspaces: EnvWorkspaces, pipeline: Pipeline, counted: GatewayMetrics, embedder: EmbedderStage
) -> dict[str, Callable[[grpc.Server], None]]:
    """What adds each service of the typed API to a server, by its name."""
    typed = GatewayServicer(workspaces, pipeline, counted)
    people, faces = PeopleServicer(workspaces, pipeline), FacesServicer(workspaces, pipeline)
    forms, info = FormServicer(faces, people), InfoServicer(workspaces, embedder)
    transfers = TransferServicer(workspaces, pipeline)
    return {
        "reco.gateway.v1.GatewayService": partial(gateway_pb2_grpc.add_GatewayServiceServicer_to_server, typed),
        "reco.gateway.v1.PeopleService": partial(people_pb2_grpc.add_PeopleServiceServicer_to_server, people),
        "reco.gateway.v1.FacesService": partial(faces_pb2_grpc.add_FacesServiceServicer_to_server, faces),
        "reco.gateway.v1.FormService": partial(faces_pb2_grpc.add_FormServiceServicer_to_server, forms),
        "reco.gateway.v1.TransferService": partial(transfer_pb2_grpc.add_TransferServiceServicer_to_server, transfers),
        "reco.gateway.v1.InfoService": partial(info_pb2_grpc.add_InfoServiceServicer_to_server, info),
    }


def _services_about_it(
    books: AccessBooks, watchers: Watchers, stages: StageHealth
) -> dict[str, Callable[[grpc.Server], None]]:
    """The same of those that tell of the system itself, and show its console."""
    access, events, ready = AccessServicer(books), EventsServicer(watchers), ReadinessServicer(stages.serving)
    return {
        "reco.gateway.v1.AccessService": partial(access_pb2_grpc.add_AccessServiceServicer_to_server, access),
        "reco.gateway.v1.EventsService": partial(events_pb2_grpc.add_EventsServiceServicer_to_server, events),
        "reco.gateway.v1.ConsoleService": partial(
            console_pb2_grpc.add_ConsoleServiceServicer_to_server, ConsoleServicer()
        ),
        "reco.gateway.v1.ReadinessService": partial(readiness_pb2_grpc.add_ReadinessServiceServicer_to_server, ready),
    }


def told(audit: Audit, watchers: Watchers, webhook: Webhook | None) -> Audit:
    """Writes events to the audit log, and has them told to who watches, and if there is a webhook to that, which begins to
    tell."""
    if webhook:
        threading.Thread(target=webhook.run, name="webhook", daemon=True).start()

    def all_of_them(event: Event) -> None:
        audit(event)
        watchers.tell(event)
        if webhook:
            webhook.tell(event)

    return all_of_them


def open_access(settings: Settings, env_file: EnvFile, database: Database) -> Access:
    """Who may ask for what; the keys that are in force are followed from now on.

    Raises:
        SystemExit: no key exists, and nobody said that all may be let in.
    """
    keyring = AccessKeys(KeyTables(env_file, database).open)
    keyring.refresh()
    if keyring.is_known and keyring.is_empty and not settings.allow_anonymous:
        sys.exit(ADVICE.format(listen=settings.server.address, make_key=MAKE_KEY))
    threading.Thread(target=keyring.follow, name="keys", daemon=True).start()
    return Access(keyring, settings.allow_anonymous)


def build_pipeline(
    stages: Stages,
    executor: Executor,
    attempts: Attempts | None = None,
    uses: LastUses | None = None,
    fused: bool = False,
) -> Pipeline:
    """The pipeline on these stages; photos of one request are worked on side by side on the executor.

    Args:
        attempts: limits how often an ID may be claimed; nothing does if not given.
        uses: is told who is used; nobody is if not given.
        fused: see Verifier.
    """
    detector, embedder = stages.detector, stages.embedder
    attempts, uses = attempts or Attempts(0), uses or LastUses(enabled=False)
    reconciler = Reconciler(detector, embedder, executor)
    people, drafter = EnrolledPeople(embedder, reconciler), Drafter(detector, embedder, reconciler, uses)
    operations = Operations(embedder, reconciler)
    enroller, examiner = Enroller(drafter, reconciler, executor), Examiner(detector, drafter, executor)
    return Pipeline(
        uploader=Uploader(detector, executor),
        enroller=enroller,
        registrar=Registrar(drafter, examiner, Searcher(embedder, reconciler), enroller, reconciler),
        directory=Directory(reconciler),
        duplicates=Duplicates(embedder, drafter, reconciler),
        verifier=Verifier(stages, people, executor, attempts, uses, fused),
        faces=FaceReader(stages, people, executor, attempts, uses),
        exporter=Exporter(embedder, reconciler),
        importer=Importer(embedder, drafter, reconciler, executor),
        operations=operations,
        rebuilder=Rebuilder(operations),
        reconciler=reconciler,
    )
