"""Forms for the typed API, reco.gateway.v1.FormService: a part for each field of the message that they stand for."""

from typing import Any, TypeVar

import grpc
from google.api import httpbody_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from reco.gateway.v1 import faces_pb2, faces_pb2_grpc, people_pb2

from services.gateway.api.faces import FacesServicer
from services.gateway.api.form_stream import Head, MalformedForm, read_multipart
from services.gateway.api.form_values import Base64, Plain
from services.gateway.api.forms import MULTIPART, content_type_of
from services.gateway.api.people import PeopleServicer
from services.gateway.errors import InvalidField

Form = TypeVar("Form", bound=Message)

TRUE_AND_FALSE = {"true": True, "1": True, "on": True, "false": False, "0": False, "": False}


class FormServicer(faces_pb2_grpc.FormServiceServicer):
    """Hands each form on as the message that it stands for."""

    def __init__(self, faces: FacesServicer, people: PeopleServicer):
        self._faces = faces
        self._people = people

    def DetectFaces(
        self, request: httpbody_pb2.HttpBody, context: grpc.ServicerContext
    ) -> faces_pb2.DetectFacesResponse:
        return self._faces.DetectFaces(read_message(request, faces_pb2.DetectFacesRequest()), context)

    def CompareFaces(
        self, request: httpbody_pb2.HttpBody, context: grpc.ServicerContext
    ) -> faces_pb2.CompareFacesResponse:
        return self._faces.CompareFaces(read_message(request, faces_pb2.CompareFacesRequest()), context)

    def IdentifyFaces(
        self, request: httpbody_pb2.HttpBody, context: grpc.ServicerContext
    ) -> faces_pb2.IdentifyFacesResponse:
        return self._faces.IdentifyFaces(read_message(request, faces_pb2.IdentifyFacesRequest()), context)

    def VerifyFace(self, request: faces_pb2.PersonForm, context: grpc.ServicerContext) -> faces_pb2.VerifyFaceResponse:
        message = read_message(request.body, faces_pb2.VerifyFaceRequest())
        message.person_id = request.person_id
        return self._faces.VerifyFace(message, context)

    def CreatePerson(
        self, request: httpbody_pb2.HttpBody, context: grpc.ServicerContext
    ) -> people_pb2.CreatePersonResponse:
        return self._people.CreatePerson(read_message(request, people_pb2.CreatePersonRequest()), context)

    def AddPhotos(self, request: faces_pb2.PersonForm, context: grpc.ServicerContext) -> people_pb2.AddPhotosResponse:
        message = read_message(request.body, people_pb2.AddPhotosRequest())
        message.person_id = request.person_id
        return self._people.AddPhotos(message, context)


def read_message(body: httpbody_pb2.HttpBody, message: Form) -> Form:
    """Fills a message from the parts of a form.

    Raises:
        InvalidField: a part is no field of the message, or holds what the field does not take; the body is no form.
        TooManyPhotos: the form has more parts than anybody may send.
    """
    kind, options = content_type_of(body.content_type)
    parts: list[tuple[Head, Plain | Base64]] = []

    def open_part(head: Head) -> Plain | Base64:
        parts.append((head, Base64() if head.encoding == b"base64" else Plain()))
        return parts[-1][1]

    try:
        if kind != MULTIPART:
            raise MalformedForm("it is no form")
        read_multipart(options.get(b"boundary", b""), [body.data], open_part)
    except MalformedForm as err:
        raise InvalidField("body", "a form (multipart/form-data) or JSON is wanted") from err
    fields: dict[str, Any] = {field.name: field for field in message.DESCRIPTOR.fields}
    for head, value in parts:
        name = head.name.decode("utf-8", "replace")[:64]
        if name not in fields:
            raise InvalidField(name, f"the form takes {', '.join(fields)}")
        _set(message, fields[name], head, value.content())
    return message


def _set(message: Message, field: Any, head: Head, content: bytes) -> None:
    if field.message_type:  # photos: the only messages that forms hold
        file_name = (head.file_name or b"").decode("utf-8", "replace")
        getattr(message, field.name).add(name=file_name, image=content)
        return
    value = content if field.type == FieldDescriptor.TYPE_BYTES else _value(field, content.strip())
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _value(field: Any, content: bytes) -> object:
    try:
        text = content.decode()
        if field.type == FieldDescriptor.TYPE_BOOL:
            return TRUE_AND_FALSE[text.lower()]
        if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64):
            number = int(text or "0")
            if abs(number) >= 1 << 31:
                raise ValueError("too large")
            return number
        return float(text or "0") if field.type == FieldDescriptor.TYPE_FLOAT else text
    except (ValueError, KeyError) as err:
        raise InvalidField(field.name, "this part of the form holds something else than the field takes") from err
