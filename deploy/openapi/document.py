"""The document: paths of the protos' HTTP annotations, those of the REST contract, and their schemas."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from deploy.openapi import contract
from deploy.openapi.comments import Comments
from deploy.openapi.examples import EXAMPLES
from deploy.openapi.schemas import Schema, Schemas
from services.gateway.access.roles import needed_role
from services.gateway.version import VERSION

HTTP_BODY = "google.api.HttpBody"
#: The one that comes as forms what other services take as JSON, and the one whose bodies protos cannot tell.
FORMS, LEGACY = "FormService", "LegacyService"

#: What an HttpBody is, by the method that answers it.
BODIES = {"GetPhotoImage": "image/png", "GetOpenApi": "application/json"}

ABOUT = (
    "Face recognition that you host yourself: people and their photos, faces in pictures, and the three endpoints of the "
    "REST contract. The same in gRPC: methods and messages have the same names.\n\n"
    "Fields that are left out have the value of their type: an empty text, 0, false, an empty list."
)

PROBLEM: Schema = {
    "type": "object",
    "description": "A google.rpc.Status. What Envoy itself refuses has `code` (the HTTP status then) and `message` alone.",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "integer", "description": "of google.rpc.Code"},
        "message": {"type": "string"},
        "details": {
            "type": "array",
            "description": "An ErrorInfo, whose `reason` is for programs, and where fields are at fault a BadRequest.",
            "items": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}},
        },
    },
}


@dataclass(frozen=True)
class Route:
    """Where HTTP finds a method.

    Attributes:
        verb: in lower case.
        path: with names in braces.
        body: the field that the request's body is; `*`: all that is not in the path; empty: none.
    """

    verb: str
    path: str
    body: str
    method: MethodDescriptor

    @property
    def in_path(self) -> list[str]:
        """Fields that the path has, by their names within the message."""
        return re.findall(r"{([\w.]+)}", self.path)

    @property
    def shown_path(self) -> str:
        """`{person.person_id}` is {person_id}."""
        return re.sub(r"{(?:\w+\.)*(\w+)}", r"{\1}", self.path)


def document(services: Sequence[ServiceDescriptor], comments: Comments) -> dict[str, Any]:
    """The document, ready to be written as JSON. `services`: in the order in which they are to be told."""
    routes = [route for service in services for route in _routes(service)]
    schemas = Schemas(comments, [route.method.output_type for route in routes])
    schemas.components["Problem"] = PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.method.containing_service.name not in (FORMS, LEGACY):
            paths.setdefault(route.shown_path, {})[route.verb] = _operation(route, schemas, comments)
    for route in routes:
        if route.method.containing_service.name == FORMS:
            _add_form(paths[route.shown_path][route.verb], _json_method(routes, route), route, schemas)
    paths |= contract.paths()
    schemas.components |= contract.schemas()
    for path, operations in paths.items():
        for verb, operation in operations.items():
            _say_who_may(operation, verb, path)
    tags = [
        {"name": service.name, "description": comments.of(service)} for service in services if service.name != FORMS
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "RECO",
            "version": VERSION,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"key": []}, {}],
        "tags": tags,
        "paths": {path: dict(sorted(paths[path].items())) for path in sorted(paths)},
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a token of OpenID Connect."},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _routes(service: ServiceDescriptor) -> Iterator[Route]:
    for method in service.methods:
        options = MethodOptions.FromString(method.GetOptions().SerializeToString())
        rule = options.Extensions[annotations_pb2.http]
        if verb := rule.WhichOneof("pattern"):
            yield Route(verb, getattr(rule, verb), rule.body, method)


def _json_method(routes: Sequence[Route], form: Route) -> MethodDescriptor:
    """The method of another service at the same place."""
    return next(one.method for one in routes if (one.verb, one.path) == (form.verb, form.path) and one != form)


def _operation(route: Route, schemas: Schemas, comments: Comments) -> dict[str, Any]:
    method = route.method
    told = comments.of(method)
    operation: dict[str, Any] = {
        "operationId": method.name,
        "tags": [method.containing_service.name],
        "summary": re.split(r"(?<=[.?!:]) ", told)[0].rstrip(".:") or re.sub(r"(?<!^)(?=[A-Z])", " ", method.name),
        **({"description": told} if told else {}),
        "parameters": list(_parameters(route, schemas)),
    }
    if route.body:
        schema = _body(route, schemas)
        content: dict[str, Any] = {"schema": schema}
        if (example := EXAMPLES.get(method.name, {}).get("body")) is not None:
            content["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    operation["responses"] = {
        "200": _answer(method, schemas),
        "default": {
            "description": "Refused.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    }
    if method.name == "CheckReadiness":
        operation["responses"]["503"] = {**_answer(method, schemas), "description": "A stage does not serve."}
    return operation


def _parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    example = EXAMPLES.get(route.method.name, {})
    for place in route.in_path:
        name = place.rpartition(".")[2]
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "example": example["path"][name],
        }
    if route.body == "*":
        return
    outer = {place.partition(".")[0] for place in route.in_path}
    for field in route.method.input_type.fields:
        if field.name not in outer and field.name != route.body:
            schema = schemas.of_field(field)
            description = {"description": schema.pop("description")} if "description" in schema else {}
            given = {"example": example["query"][field.name]} if field.name in example.get("query", {}) else {}
            yield {"name": field.name, "in": "query", **description, "schema": schema, **given}


def _body(route: Route, schemas: Schemas) -> Schema:
    message = route.method.input_type
    if route.body == "*":
        return schemas.of_request(message, without=route.in_path)
    part = message.fields_by_name[route.body].message_type
    assert part, "a body is a message"
    return schemas.of_request(part)


def _answer(method: MethodDescriptor, schemas: Schemas) -> dict[str, Any]:
    if method.output_type.full_name == HTTP_BODY:
        return {"description": "As it is.", "content": {BODIES[method.name]: {"schema": {}}}}
    schema = schemas.of_answer(method.output_type)
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _add_form(operation: dict[str, Any], method: MethodDescriptor, form: Route, schemas: Schemas) -> None:
    schema = schemas.of_form(method.input_type, without=form.in_path)
    operation["requestBody"]["content"]["multipart/form-data"] = {"schema": schema}


def _say_who_may(operation: dict[str, Any], verb: str, path: str) -> None:
    role = needed_role(verb.upper(), re.sub(r"{\w+}", "x", path))
    if role is None:
        operation["security"] = []
    else:
        operation["description"] = (
            f"{operation.get('description', '')}\n\nNeeds a key of the role {role.value}.".strip()
        )
