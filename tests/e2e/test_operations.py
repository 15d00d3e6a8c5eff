"""Other models come into use while a system runs, and whoever watches is told what happens meanwhile."""

import threading
import time
from collections.abc import Iterator

import cv2
import grpc
import pytest
from reco.gateway.v1 import events_pb2, events_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from services.gateway.events.watchers import MAX_WATCHERS
from tests.e2e.api import Api, files
from tests.e2e.system import RECOGNISER, System

ANN = jpeg(astronaut())
MIRRORED = jpeg(cv2.flip(astronaut(), 1))
OTHER = "Dlib"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with System(tmp_path_factory.mktemp("operations"), SCORE_TOL="5.000", NUM_AUG="1") as system:
        yield Api(system)


def used(api: Api) -> list[str]:
    """The models that answer."""
    return [model["name"] for model in api.get("/v1/info")["models"]]


def finds_ann(api: Api) -> bool:
    status, answer = api.ask("POST", "/v1/faces:identify", {"image": files(MIRRORED)[0]["image"]})
    assert status == 200, answer
    return [one["person"]["person_id"] for one in answer["faces"][0]["candidates"]] == ["RECO_ID_1"]


def wait_for(api: Api, model: str) -> None:
    """Until the model answers; those before find her all the time."""
    until = time.monotonic() + 90
    while used(api) != [model]:
        assert time.monotonic() < until and finds_ann(api)


def test_another_model_comes_into_use_and_goes_again(api: Api):
    api.create("RECO_ID_1", ANN)
    api.create("RECO_ID_2", jpeg(astronaut()[:, ::-1][20:, 10:]), name="Bob")
    assert used(api) == [RECOGNISER]
    api.ask("DELETE", "/v1/people/RECO_ID_2")
    api.system.write_env(SCORE_TOL="5.000", NUM_AUG="1", SELECTED_MODELS=OTHER)
    wait_for(api, OTHER)
    assert finds_ann(api)
    (operation,) = api.get("/v1/operations")["operations"]
    assert (operation["kind"], operation["state"]) == ("KIND_REEMBED", "STATE_SUCCEEDED")
    assert (operation["models"], operation["started_by"], operation["problem"]) == ([OTHER], "settings", "")
    api.system.write_env(SCORE_TOL="5.000", NUM_AUG="1")
    wait_for(api, RECOGNISER)
    assert finds_ann(api)


def test_a_rebuild_is_an_operation(api: Api):
    status, begun = api.ask("POST", "/v1/operations:rebuild", {})
    assert status == 200 and begun["kind"] == "KIND_REBUILD"
    until = time.monotonic() + 60
    while (now := api.get(f"/v1/operations/{begun['operation_id']}"))["state"] == "STATE_RUNNING":
        assert time.monotonic() < until
    assert (now["state"], now["done_people"]) == ("STATE_SUCCEEDED", 1)
    assert api.refusal("GET", "/v1/operations/x") == (404, "OPERATION_UNKNOWN", [])
    assert api.ask("DELETE", "/v1/operations/x")[0] == 405


def test_who_watches_is_told_through_envoy(api: Api):
    with grpc.insecure_channel(f"localhost:{api.system.port}") as channel:
        stream = events_pb2_grpc.EventsServiceStub(channel).WatchEvents(events_pb2.WatchEventsRequest())
        stream.initial_metadata()
        ask = threading.Thread(target=api.create, args=("RECO_ID_3", MIRRORED))
        ask.start()
        told = next(stream)
        ask.join()
        assert (told.type, told.person_id, told.key) == ("person.enrolled", "RECO_ID_3", "anonymous")
        stream.cancel()


def test_those_who_watch_keep_nobody_else_waiting(api: Api):
    with grpc.insecure_channel(f"localhost:{api.system.port}") as channel:
        stub = events_pb2_grpc.EventsServiceStub(channel)
        streams = [stub.WatchEvents(events_pb2.WatchEventsRequest()) for _ in range(12)]
        refused = sum(_is_refused(stream) for stream in streams)
        assert 12 - MAX_WATCHERS <= refused < 12  # somebody may still be leaving
        assert api.get("/readyz")["ready"] and api.get("/v1/people")["people"]
        for stream in streams:
            stream.cancel()


def _is_refused(stream: grpc.Call) -> bool:
    """Whether a stream ends at once; one that is served says so first."""
    told = dict(stream.initial_metadata())
    return "grpc-status" in told or not stream.is_active()


def test_without_a_key_none_is_made(api: Api):
    assert api.refusal("POST", "/v1/keys", {"name": "boss", "role": "admin"}) == (403, "KEY_NEEDED", [])
    assert api.get("/v1/keys") == {"keys": []}
    entries = api.get("/v1/audit?page_size=1")
    assert len(entries["entries"]) == 1 and entries["next_page_token"]
