"""The typed API gives what the pipeline gives, outcomes as enums."""

import pytest
from reco.gateway.v1 import gateway_pb2
from reco.types.v1 import results_pb2

from services.common.faces import Verdict
from services.common.interceptor import status_of
from services.gateway.errors import InvalidField, NotEnrolled
from tests.fakes import FakeFace, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway

ANN = fake_photo("ann")
ENROLLED = gateway_pb2.EnrollPersonResponse


def upload(gateway: FakeGateway, *images: bytes) -> gateway_pb2.UploadPhotosResponse:
    photos = [gateway_pb2.Photo(name=str(number), image=image) for number, image in enumerate(images)]
    return gateway.typed.UploadPhotos(gateway_pb2.UploadPhotosRequest(person_id=PERSON, photos=photos), CONTEXT)


def enroll(gateway: FakeGateway, in_place: bool = False) -> gateway_pb2.EnrollPersonResponse:
    upload_id = upload(gateway, ANN).upload_id
    request = gateway_pb2.EnrollPersonRequest(upload_id=upload_id, name="Ann", in_place=in_place)
    return gateway.typed.EnrollPerson(request, CONTEXT)


def verify(gateway: FakeGateway, *images: bytes, **options: bool) -> gateway_pb2.VerifyPersonResponse:
    upload_id = upload(gateway, *images).upload_id
    return gateway.typed.VerifyPerson(gateway_pb2.VerifyPersonRequest(upload_id=upload_id, **options), CONTEXT)


def test_uploading(gateway: FakeGateway):
    answer = upload(gateway, ANN, fake_photo(score=1.0), b"no picture")
    result = gateway_pb2.PhotoResult
    assert answer.upload_id in gateway.uploads.waiting
    assert [photo.outcome for photo in answer.photos] == [
        result.OUTCOME_SAVED,
        result.OUTCOME_REJECTED,
        result.OUTCOME_UNDECODABLE,
    ]
    assert [photo.score.score for photo in answer.photos] == [9.0, 1.0, 0.0]
    assert [photo.HasField("score") for photo in answer.photos] == [True, True, False]
    assert [photo.saved_as for photo in answer.photos] == ["001.img", "", ""]
    assert upload(gateway, fake_photo(score=1.0)).upload_id == ""


def test_enrolling(gateway: FakeGateway):
    first = enroll(gateway)
    assert (first.outcome, first.record_id) == (ENROLLED.OUTCOME_CREATED, 1)
    assert (len(first.photos), len(first.augmented_photos)) == (1, 2)
    assert enroll(gateway).outcome == ENROLLED.OUTCOME_ADDED
    assert enroll(gateway, in_place=True).outcome == ENROLLED.OUTCOME_REPLACED


def test_verifying(gateway: FakeGateway):
    gateway.set_env(num_aug=0)
    enroll(gateway)
    response = gateway_pb2.VerifyPersonResponse
    verified = verify(gateway, fake_photo(FakeFace("ann", 0.25)))
    assert (verified.outcome, verified.name, verified.distance) == (response.OUTCOME_VERIFIED, "Ann", 0.25)
    assert [face.verdict for face in verified.liveness] == [results_pb2.FaceLiveness.VERDICT_REAL]
    assert verify(gateway, ANN, skip_verify=True).outcome == response.OUTCOME_FOUND_SAME
    assert verify(gateway, fake_photo("eve")).outcome == response.OUTCOME_FOUND_NONE
    spoof = verify(gateway, fake_photo(FakeFace("ann", verdict=Verdict.SPOOF)))
    assert (spoof.outcome, spoof.name) == (response.OUTCOME_SPOOF, "")
    assert [face.verdict for face in spoof.liveness] == [results_pb2.FaceLiveness.VERDICT_SPOOF]
    unclear = verify(gateway, fake_photo(FakeFace("ann", verdict=Verdict.UNDECIDABLE)))
    assert [face.verdict for face in unclear.liveness] == [results_pb2.FaceLiveness.VERDICT_UNDECIDABLE]


def test_a_refusal_is_an_error(gateway: FakeGateway):
    with pytest.raises(NotEnrolled):
        verify(gateway, ANN)


def test_erasing_is_idempotent(gateway: FakeGateway):
    enroll(gateway)
    request = gateway_pb2.DeletePersonRequest(person_id=PERSON)
    assert [gateway.typed.DeletePerson(request, CONTEXT).existed for _ in range(2)] == [True, False]


def test_uploads_that_wait_are_listed_and_deleted(gateway: FakeGateway):
    ids = [upload(gateway, ANN, ANN).upload_id for _ in range(3)]
    enroll(gateway)  # whose upload waits no more
    found, token = [], ""
    while True:
        page = gateway.typed.ListUploads(gateway_pb2.ListUploadsRequest(page_size=2, page_token=token), CONTEXT)
        found, token = [*found, *page.uploads], page.next_page_token
        if not token:
            break
    assert [one.upload_id for one in found] == sorted(ids)
    assert {(one.person_id, one.photos, one.HasField("create_time")) for one in found} == {(PERSON, 2, True)}
    delete = gateway_pb2.DeleteUploadRequest(upload_id=ids[0])
    assert [gateway.typed.DeleteUpload(delete, CONTEXT).existed for _ in range(2)] == [True, False]
    assert set(gateway.uploads.waiting) == set(ids[1:])
    with pytest.raises(InvalidField):
        gateway.typed.ListUploads(gateway_pb2.ListUploadsRequest(page_token="x"), CONTEXT)


def test_what_is_told_back_goes_into_headers():
    status = status_of(InvalidField("name", "x" * 100_000))
    (_, wrong) = status.details
    assert len(status.message) < 2100 and wrong.ByteSize() < 2200
