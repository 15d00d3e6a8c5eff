"""What this installation is and takes, reco.gateway.v1.InfoService."""

from functools import cached_property
from importlib import resources

import grpc
from google.api import httpbody_pb2
from reco.gateway.v1 import info_pb2 as pb
from reco.gateway.v1 import info_pb2_grpc

from services.common.limits import MAX_GRPC_BYTES, MAX_JSON_BYTES
from services.gateway.api.people import MAX_PAGE_SIZE
from services.gateway.env import Env
from services.gateway.pipeline.upload import MAX_PHOTO_BYTES, MAX_PHOTOS
from services.gateway.stages.types import EmbedderStage, Measure, RecogniserFacts
from services.gateway.storage.types import Workspaces
from services.gateway.version import VERSION


class InfoServicer(info_pb2_grpc.InfoServiceServicer):
    """Version, models, thresholds, limits, and how the REST interface is asked."""

    def __init__(self, workspaces: Workspaces, embedder: EmbedderStage):
        self._workspaces = workspaces
        self._embedder = embedder

    def GetOpenApi(self, request: pb.GetOpenApiRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/json", data=self._openapi)

    @cached_property
    def _openapi(self) -> bytes:
        return resources.files("services.gateway").joinpath("openapi.json").read_bytes()

    def GetInfo(self, request: pb.GetInfoRequest, context: grpc.ServicerContext) -> pb.GetInfoResponse:
        workspace = self._workspaces.open()
        env = workspace.env
        used = workspace.models
        models = self._embedder.describe(Measure(used.answering, env.sim_func))
        return pb.GetInfoResponse(
            version=VERSION,
            models=map(_model, models),
            distance=env.sim_func,
            settings=_settings(env),
            limits=pb.GetInfoResponse.Limits(
                max_photos=MAX_PHOTOS,
                max_photo_bytes=min(MAX_PHOTO_BYTES, MAX_GRPC_BYTES),
                max_json_bytes=MAX_JSON_BYTES,
                max_grpc_bytes=MAX_GRPC_BYTES,
                max_page_size=MAX_PAGE_SIZE,
            ),
            next_models=used.wanted if used.are_changing else (),
        )


def _model(facts: RecogniserFacts) -> pb.GetInfoResponse.Model:
    return pb.GetInfoResponse.Model(
        name=facts.name,
        version=facts.version,
        threshold=facts.threshold,
        threshold_source=facts.source,
        dimension=facts.dimension,
        fmr=facts.fmr or 0.0,
    )


def _settings(env: Env) -> pb.GetInfoResponse.Settings:
    return pb.GetInfoResponse.Settings(
        id_regex=env.id_regex,
        min_score=env.score_tol,
        augmentations=env.num_aug,
        min_pairs=env.ver_tol,
        min_augmented_pairs=env.ver_tol_aug,
    )
