"""A running system, asked over HTTP with JSON."""

import base64
import http.client
import json
from typing import Any

from tests.e2e.system import System


class Api:
    """A running system, asked over HTTP with JSON."""

    def __init__(self, system: System):
        self.system = system

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status, and JSON or whatever came."""
        connection = http.client.HTTPConnection("localhost", self.system.port, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"} if data else {})
        answer = connection.getresponse()
        read = answer.read()
        return answer.status, json.loads(read) if answer.headers["content-type"] == "application/json" else read

    def get(self, path: str) -> Any:
        """What a request without a body answers that succeeds."""
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def create(self, person_id: str, *photos: bytes, name: str = "Ann McLee", **fields: object) -> Any:
        body = {"person_id": person_id, "display_name": name, "photos": files(*photos), **fields}
        status, answer = self.ask("POST", "/v1/people", body)
        assert status == 200, answer
        return answer

    def refusal(self, method: str, path: str, body: object = None) -> tuple[int, str, list[str]]:
        """HTTP status, reason, and the fields at fault."""
        status, answer = self.ask(method, path, body)
        assert set(answer) == {"code", "message", "details"} and answer["message"], answer
        info, *more = answer["details"]
        assert (info["@type"].rpartition(".")[2], info["domain"]) == ("ErrorInfo", "reco")
        return status, info["reason"], [one["field"] for detail in more for one in detail["field_violations"]]


def files(*photos: bytes) -> list[dict[str, str]]:
    return [{"name": f"{number}.jpg", "image": base64.b64encode(photo).decode()} for number, photo in enumerate(photos)]
