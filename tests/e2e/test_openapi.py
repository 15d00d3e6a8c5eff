"""The OpenAPI document of a running system: its examples are requests that are answered as it says, and so are odd ones."""

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import cv2
import jsonschema
import pytest

from deploy.local.demo import astronaut, jpeg
from deploy.openapi.examples import EXAMPLES, FACE, PICTURE
from tests.e2e.keys import access
from tests.e2e.system import System

PHOTOS = [jpeg(astronaut()), jpeg(cv2.flip(astronaut(), 1))]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

Answer = dict[str, Any]


class Documented:
    """A running system, asked as its document says."""

    def __init__(self, system: System):
        self.system = system
        self.key = ""
        key = access(system.folder, "new", "--name", "boss", "--role", "admin")
        while self._send("GET", "/v1/info")[0] == 200:  # until it is known, which takes a second
            time.sleep(0.1)
        self.key = key
        self.face = base64.b64encode(cv2.imencode(".png", cv2.resize(astronaut(), (256, 256)))[1].tobytes()).decode()
        self.asked: set[str] = set()
        self.document = json.loads(self._send("GET", "/openapi.json")[1])
        self.operations = {
            operation["operationId"]: (verb, path, operation)
            for path, operations in self.document["paths"].items()
            for verb, operation in operations.items()
        }

    def ask(self, name: str, **changes: str) -> Answer | bytes:
        """Sends an operation's example, checks that the answer is as documented, and gives it.

        Args:
            changes: of what the example says in the path or the body.
        """
        self.asked.add(name)
        verb, path, operation = self.operations[name]
        example = EXAMPLES.get(name, {})
        for field, value in example.get("path", {}).items():
            path = path.replace(f"{{{field}}}", quote(changes.get(field, value)))
        if query := example.get("query"):
            path = f"{path}?{urlencode({key: str(value).lower() for key, value in query.items()})}"
        body = {key: changes.get(key, value) for key, value in example["body"].items()} if "body" in example else None
        picture = base64.b64encode(PHOTOS[name == "AddPhotos"]).decode()
        text = None if body is None else json.dumps(body).replace(PICTURE, picture).replace(FACE, self.face)
        status, answer, content_type = self._send(verb.upper(), path, text)
        assert status == 200, answer
        ((documented, content),) = operation["responses"]["200"]["content"].items()
        assert content_type.partition(";")[0] == documented
        if documented != "application/json" or not content["schema"]:
            return answer
        read: Answer = json.loads(answer)
        jsonschema.validate(read, {**content["schema"], "components": self.document["components"]})
        (reference,) = content["schema"].values()
        assert set(read) <= set(self.document["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
        return read

    def _send(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes, str]:
        headers = {"x-api-key": self.key} | ({"content-type": "application/json"} if body else {})
        url = f"http://localhost:{self.system.port}{path}"
        request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read(), answer.headers["content-type"]
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read(), refused.headers["content-type"]


@pytest.fixture(scope="module")
def documented(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Documented]:
    """Liveness is checked: the weights are those of the test data."""
    folder = tmp_path_factory.mktemp("documented")
    with System(folder, mirror=photos / "weights", SCORE_TOL="5.000", NUM_AUG="0") as system:
        yield Documented(system)


def test_every_example_is_answered_as_documented(documented: Documented):
    ask = documented.ask
    for name in ("CheckHealth", "CheckReadiness", "GetOpenApi", "GetInfo", "CreatePerson", "ListPeople", "GetPerson"):
        assert ask(name), name
    photo = ask("ListPhotos")["photos"][0]["photo_id"]  # type: ignore[index]
    for name in (
        "AddPhotos",
        "UpdatePerson",
        "DetectFaces",
        "CompareFaces",
        "IdentifyFaces",
        "VerifyFace",
        "ListConflicts",
    ):
        assert ask(name), name
    upload = ask("UploadPhotos")["upload_id"]  # type: ignore[index]
    ask("VerifyPerson", upload_id=upload)
    assert ask("ListUploads")["uploads"][0]["upload_id"] == upload  # type: ignore[index]
    ask("EnrollPerson", upload_id=upload)
    assert ask("DeleteUpload", upload_id=upload) == {"existed": False}
    ask("CreatePerson", person_id="RECO_ID_000024", request_id="another")
    ask("MergePerson")
    assert ask("GetPhoto", photo_id=photo) and ask("GetPhotoImage", photo_id=photo)
    assert ask("DeletePhoto", photo_id=photo) == {"person_deleted": False}
    assert ask("DeletePerson") == {"existed": True}
    (imported,) = ask("ImportPeople")["people"]  # type: ignore[index]
    assert imported["outcome"] == "OUTCOME_IMPORTED" and ask("ExportPeople")
    operation = ask("StartRebuild")["operation_id"]  # type: ignore[index]
    assert ask("ListOperations") and ask("GetOperation", operation_id=operation)
    ask("CancelOperation", operation_id=operation)
    assert ask("GetActivity") and ask("CreateKey") and ask("ListKeys") and ask("RevokeKey") and ask("ListAuditEntries")
    assert set(documented.operations) - documented.asked == {"UploadImgs", "UploadDb", "Verify"}, (
        "whose answers test_contract.py has"
    )


def test_odd_requests_are_answered_as_documented(documented: Documented):
    """Made by schemathesis; `make fuzz` sends odder ones."""
    url = f"http://localhost:{documented.system.port}/openapi.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", url, "--checks", CHECKS, "--max-examples", "50"]
    command += ["-H", f"x-api-key: {documented.key}"]
    command += ["--seed", "16", "--phases", "fuzzing", "--request-timeout", "30", "--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
