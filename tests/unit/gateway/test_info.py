"""What an installation says of itself."""

import tomllib

from reco.gateway.v1 import info_pb2

from services.gateway.version import VERSION
from tests.machine import ROOT
from tests.unit.gateway.fake_gateway import CONTEXT, FakeGateway


def test_it_tells_version_models_settings_and_limits(gateway: FakeGateway):
    gateway.set_env(num_aug=3, score_tol=6.5, sim_func="euclidean")
    info = gateway.info_api.GetInfo(info_pb2.GetInfoRequest(), CONTEXT)
    assert [(model.name, model.version, model.dimension) for model in info.models] == [("Dlib", "1", 2)]
    assert round(info.models[0].threshold, 6) == 0.4 and info.models[0].threshold_source == "made up"
    assert (info.version, info.distance) == (VERSION, "euclidean")
    assert (info.settings.id_regex, info.settings.min_score, info.settings.augmentations) == (r"RECO_ID_\d+", 6.5, 3)
    assert info.limits.max_photos == 200 and info.limits.max_json_bytes < info.limits.max_grpc_bytes


def test_the_version_is_that_of_the_project():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
