"""The OpenAPI document says what the protos say, in JSON schemas that are some."""

import json
import re
from typing import Any

import jsonschema
import pytest

from deploy.openapi.__main__ import FILE, text
from deploy.openapi.examples import EXAMPLES, PICTURE
from tests.fuzz.protos import Protos

DOCUMENT = json.loads(FILE.read_text())


def schema(reference: str) -> dict[str, Any]:
    """A schema with all that it may refer to."""
    return {"$ref": reference, "components": DOCUMENT["components"]}


def test_the_file_is_what_make_openapi_writes():
    assert FILE.read_text() == text(), "run `make openapi`"


def test_every_endpoint_of_the_protos_is_there():
    wanted = {
        (endpoint.method.lower(), endpoint.path.replace("person.person_id", "person_id"))
        for endpoint in Protos().endpoints()
    }
    there = {(verb, path) for path, operations in DOCUMENT["paths"].items() for verb in operations}
    pages = {("get", "/"), ("get", "/console/{name=**}")}
    assert there == wanted - pages | {("get", "/healthz")}


def test_operations_have_names_of_their_own():
    names = [one["operationId"] for operations in DOCUMENT["paths"].values() for one in operations.values()]
    assert len(names) == len(set(names))
    assert all(one["summary"] for operations in DOCUMENT["paths"].values() for one in operations.values())
    assert set(EXAMPLES) <= set(names)


def test_schemas_are_some_and_refer_to_what_there_is():
    for name, one in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(one)
        jsonschema.Draft202012Validator(schema(f"#/components/schemas/{name}")).is_valid({})


@pytest.mark.parametrize(
    "path", [path for path, one in DOCUMENT["paths"].items() if "post" in one and path.startswith("/v1/")]
)
def test_examples_fit(path: str):
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    jsonschema.validate(content["example"], schema(content["schema"]["$ref"]))
    fields = DOCUMENT["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["properties"]
    assert set(content["example"]) <= set(fields)
    assert not set(re.findall(r"{(\w+)}", path)) & set(fields), "the path has them"
    assert PICTURE in json.dumps(content["example"]) or "image" not in fields


def test_what_is_answered_is_told_apart_from_what_is_asked():
    schemas = DOCUMENT["components"]["schemas"]
    assert (
        "required" not in schemas["CreatePersonRequest"]
        and "person_id" not in schemas["AddPhotosRequest"]["properties"]
    )
    assert {"person_id", "display_name", "labels"} == set(schemas["Person"]["required"]) - {"external_id"}
    change = DOCUMENT["paths"]["/v1/people/{person_id}"]["patch"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert change == {"$ref": "#/components/schemas/PersonInput"} and "required" not in schemas["PersonInput"]
