"""Requests of the typed API about people, to a gateway on fakes."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from reco.gateway.v1 import people_pb2 as pb

from services.common.errors import RecoError
from services.common.interceptor import status_of
from tests.fakes import fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway

ANN = fake_photo("ann")
OTHER = "RECO_ID_2"


def create(
    gateway: FakeGateway, *images: bytes, person_id: str = PERSON, name: str = "Ann McLee", **fields: Any
) -> pb.CreatePersonResponse:
    """Photos of Ann if none are given."""
    photos = [pb.PhotoFile(name=f"{number}.jpg", image=image) for number, image in enumerate(images or (ANN,))]
    request = pb.CreatePersonRequest(person_id=person_id, display_name=name, photos=photos, **fields)
    return gateway.people_api.CreatePerson(request, CONTEXT)


def add(gateway: FakeGateway, *images: bytes, person_id: str = PERSON, request_id: str = "") -> pb.AddPhotosResponse:
    photos = [pb.PhotoFile(name="a", image=image) for image in images]
    request = pb.AddPhotosRequest(person_id=person_id, photos=photos, request_id=request_id)
    return gateway.people_api.AddPhotos(request, CONTEXT)


def update(gateway: FakeGateway, *mask: str, person_id: str = PERSON, **fields: Any) -> pb.Person:
    person = pb.Person(person_id=person_id, **fields)
    request = pb.UpdatePersonRequest(person=person, update_mask=FieldMask(paths=mask))
    return gateway.people_api.UpdatePerson(request, CONTEXT)


def get(gateway: FakeGateway, person_id: str = PERSON) -> pb.Person:
    return gateway.people_api.GetPerson(pb.GetPersonRequest(person_id=person_id), CONTEXT)


def photos(gateway: FakeGateway, person_id: str = PERSON) -> list[pb.EnrolledPhoto]:
    return list(gateway.people_api.ListPhotos(pb.ListPhotosRequest(person_id=person_id), CONTEXT).photos)


def delete_photo(gateway: FakeGateway, photo_id: str, delete_person: bool = False) -> bool:
    request = pb.DeletePhotoRequest(person_id=PERSON, photo_id=photo_id, delete_person=delete_person)
    return bool(gateway.people_api.DeletePhoto(request, CONTEXT).person_deleted)


def listed(gateway: FakeGateway, **fields: Any) -> pb.ListPeopleResponse:
    return gateway.people_api.ListPeople(pb.ListPeopleRequest(**fields), CONTEXT)


def names(gateway: FakeGateway, **fields: Any) -> list[str]:
    return [person.display_name for person in listed(gateway, **fields).people]


def refusal(call: Callable[[], object]) -> tuple[str, str, list[str]]:
    """Status, reason, and the fields that are at fault, as a client sees them."""
    with pytest.raises(RecoError) as refused:
        call()
    details = [any_.TypeName().rpartition(".")[2] for any_ in status_of(refused.value).details]
    fields = [field for field, _ in refused.value.violations]
    assert details == (["ErrorInfo", "BadRequest"] if fields else ["ErrorInfo"])
    return refused.value.status, refused.value.reason, fields
