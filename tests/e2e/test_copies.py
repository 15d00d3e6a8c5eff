"""Two gateways and two embedders on one database: whoever answers knows what the other has done."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest
from reco.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc, legacy_pb2, legacy_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from tests.e2e.services import Services
from tests.e2e.system import RECOGNISER, System

PERSON = "RECO_ID_1"
NAMES = ("detector", "liveness", "embedder", "embedder-2", "gateway", "gateway-2")
FOUND_SAME = gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_SAME
VERIFIED = gateway_pb2.VerifyPersonResponse.OUTCOME_VERIFIED
FOUND_NONE = gateway_pb2.VerifyPersonResponse.OUTCOME_FOUND_NONE


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("copies")
    System(folder)  # only for its folders and .env
    with Services(folder / ".env", NAMES) as services:
        yield services


@pytest.fixture(scope="module")
def gateways(services: Services) -> list[gateway_pb2_grpc.GatewayServiceStub]:
    return [gateway_pb2_grpc.GatewayServiceStub(services.channel(name)) for name in ("gateway", "gateway-2")]


def upload(gateway: gateway_pb2_grpc.GatewayServiceStub, scale: float = 1.0) -> str:
    photo = gateway_pb2.Photo(name="a.jpg", image=jpeg(cv2.convertScaleAbs(astronaut(), alpha=scale)))
    request = gateway_pb2.UploadPhotosRequest(person_id=PERSON, photos=[photo])
    return gateway.UploadPhotos(request, timeout=60).upload_id


def verify(gateway: gateway_pb2_grpc.GatewayServiceStub, upload_id: str, skip_verify: bool) -> int:
    request = gateway_pb2.VerifyPersonRequest(upload_id=upload_id, skip_verify=skip_verify, skip_liveness=True)
    answer = gateway.VerifyPerson(request, timeout=60)
    assert answer.HasField("fusion") != skip_verify
    assert not answer.HasField("fusion") or (answer.fusion.verified and list(answer.fusion.models) == [RECOGNISER])
    return answer.outcome


def test_a_person_enrolled_through_one_copy_is_known_to_all_at_once(gateways):
    for first, second in (gateways, gateways[::-1]):
        probe = upload(second, 1.05)
        first.EnrollPerson(gateway_pb2.EnrollPersonRequest(upload_id=upload(first), name="Eileen"), timeout=60)
        for _ in range(4):  # the calls go to both embedders in turn
            assert verify(second, probe, skip_verify=True) == FOUND_SAME
            assert verify(second, probe, skip_verify=False) == VERIFIED
        assert first.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60).existed
        probe = upload(second, 1.05)  # erasing a person erases their uploads
        for _ in range(2):
            assert verify(second, probe, skip_verify=True) == FOUND_NONE
        assert not second.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=PERSON), timeout=60).existed


def test_results_stay_right_while_everything_is_rebuilt(services: Services, gateways):
    gateways[0].EnrollPerson(gateway_pb2.EnrollPersonRequest(upload_id=upload(gateways[0]), name="Eileen"), timeout=60)
    probe = upload(gateways[1], 1.05)
    legacy = legacy_pb2_grpc.LegacyServiceStub(services.channel("gateway"))
    body = "&".join(
        [
            f"upload_id={upload(gateways[0], 1.1)}",
            "name=Eileen",
            "delete_pickles=true",
            "rebuild_db=true",
            "in_place=false",
        ]
    )
    request = legacy_pb2.LegacyFormRequest()
    request.body.content_type, request.body.data = "application/x-www-form-urlencoded", body.encode()
    with ThreadPoolExecutor(1) as executor:
        rebuilding = executor.submit(legacy.UploadDb, request, timeout=60)
        searches = 0
        while not rebuilding.done() or searches < 4:
            assert verify(gateways[searches % 2], probe, skip_verify=True) == FOUND_SAME
            searches += 1
    assert f'"{RECOGNISER}": 167'.encode() in rebuilding.result().data
    assert verify(gateways[1], probe, skip_verify=False) == VERIFIED


def test_dropped_templates_are_made_again_when_they_are_needed(services: Services, gateways):
    probe = upload(gateways[0], 1.05)
    embedder = embedder_pb2_grpc.EmbedderServiceStub(services.channel("embedder-2"))
    for skip_verify, expected in ((True, FOUND_SAME), (False, VERIFIED)):
        assert embedder.DropTemplates(embedder_pb2.DropTemplatesRequest(), timeout=20).dropped_templates > 0
        assert verify(gateways[0], probe, skip_verify) == expected


def test_a_killed_copy_costs_no_request(services: Services, gateways):
    probe = upload(gateways[0], 1.05)
    services.kill("embedder-2")
    for _ in range(6):
        assert verify(gateways[0], probe, skip_verify=True) == FOUND_SAME
    services.start("embedder-2")
    services.wait("embedder-2")
