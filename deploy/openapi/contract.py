"""The three endpoints of the REST contract (docs/rest.md), whose forms and codes no proto tells; and /healthz."""

from typing import Any

from deploy.openapi.schemas import BINARY, Schema
from services.gateway.api.codes import MESSAGES

FLAG: Schema = {"type": "string", "description": "`true`, in any case, or anything else."}
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


def paths() -> dict[str, Any]:
    """Operations by path and verb."""
    upload: Schema = {
        "type": "object",
        "description": "Photos under any names: files, or texts that hold base64 or data URLs.",
        "additionalProperties": {"anyOf": [BINARY, {"type": "array", "items": BINARY}]},
    }
    identifier = {
        "name": "id",
        "in": "query",
        "required": True,
        "schema": {"type": "string"},
        "example": "RECO_ID_000023",
    }
    texts = {**upload, "additionalProperties": {"type": "string"}}
    enroll = _form("upload_id", "name", "delete_pickles", "rebuild_db", "in_place")
    verify = _form("upload_id", "skip_verify", "skip_db_search", "skip_liveness")
    return {
        "/upload_imgs": {"post": {
            **_operation("UploadImgs", "Scores photos of a person and keeps the good ones", "UploadAnswer"),
            "parameters": [identifier],
            "requestBody": {"required": True, "content": {MULTIPART: {"schema": upload}, URLENCODED: {"schema": texts}}},
        }},
        "/upload_db": {"post": {
            **_operation("UploadDb", "Enrolls the photos of an upload", "EnrollmentAnswer"),
            "requestBody": {"required": True, "content": {URLENCODED: {"schema": enroll}}},
        }},
        "/verify": {"post": {
            **_operation("Verify", "Verifies an upload 1:1, then searches 1:N", "VerificationAnswer"),
            "requestBody": {"required": True, "content": {URLENCODED: {"schema": verify}}},
        }},
        "/healthz": {"get": {
            "operationId": "CheckHealth",
            "tags": ["ReadinessService"],
            "summary": "Whether Envoy is up",
            "responses": {"200": {"description": "It is.", "content": _json("Problem")}},
        }},
    }  # fmt: skip


def schemas() -> dict[str, Schema]:
    """What the endpoints answer, whatever happens, with HTTP 200; null where there is nothing to say."""
    nothing: Schema = {"type": "null"}
    texts: Schema = {"type": "array", "items": {"type": "string"}}
    scores: Schema = {"type": "object", "additionalProperties": {"type": "number"}}
    uploaded = _object(upload_id="string", folder_name="string", random_str="string")
    uploaded["properties"] |= {"scores": scores, "saved": texts, "rejected": texts, "errors": texts, "saved_as": texts}
    images: Schema = {"type": "object", "properties": {"main": texts, "aug": texts}}
    enrolled = _object(mysql_id="integer", message_pickle="object", rebuilt_db="object")
    enrolled["properties"]["resulting_imgs"] = images
    recognised: Schema = {
        "type": "object",
        "required": ["name", "distance"],
        "properties": {"name": {"type": ["string", "null"]}, "distance": {"type": ["number", "null"]}},
    }
    return {
        "UploadAnswer": _answer("upload_results", {"anyOf": [uploaded, nothing]}, "upload_code", "upload_message"),
        "EnrollmentAnswer": _answer("upload_results", {"anyOf": [enrolled, nothing]}, "result_code", "result_message"),
        "VerificationAnswer": _answer(
            "recognition_results", {"anyOf": [recognised, nothing]}, "recognition_code", "recognition_message"
        ),
    }


def _operation(name: str, summary: str, answer: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["LegacyService"],
        "summary": summary,
        "responses": {
            "200": {"description": "Whatever came of it.", "content": _json(answer)},
            "default": {"description": "Refused.", "content": _json("Problem")},
        },
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _form(*names: str) -> Schema:
    texts = {"upload_id", "name"}
    properties = {name: {"type": "string"} if name in texts else FLAG for name in names}
    return {"type": "object", "required": list(names), "properties": properties}


def _object(**types: str) -> Schema:
    return {"type": "object", "properties": {name: {"type": type_} for name, type_ in types.items()}}


def _answer(results: str, schema: Schema, code: str, message: str) -> Schema:
    codes = "\n".join(f"- {number}: {text}" for number, text in MESSAGES.items())
    properties: dict[str, Schema] = {
        results: schema,
        code: {"type": "integer", "description": codes},
        message: {"type": "string"},
        "system_errors": {"type": ["object", "null"]},
    }
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}
