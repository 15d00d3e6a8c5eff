"""A running system tells a receiver what happens, also what happened while the receiver was away."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploy.local.demo import astronaut, jpeg
from tests.e2e.api import Api
from tests.e2e.system import System
from tests.machine import free_port

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@contextmanager
def receiving(port: int, statuses: list[int]) -> Iterator[list[tuple[str, Any]]]:
    """Ids and bodies that were received; answers the statuses one after the other, and then 204."""
    received: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = statuses.pop(0) if statuses else 204
            self.send_response(status)
            self.send_header("location", "http://localhost:1/")
            self.end_headers()
            if status == 204:
                received.append((self.headers["webhook-id"], json.loads(body)))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
        for _ in range(300):
            if len(received) >= 2:
                break
            time.sleep(0.1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_happens_is_told_also_after_a_while(tmp_path: Path):
    port = free_port()
    queue = tmp_path / "queue"
    hook = {
        "RECO_WEBHOOK_URL": f"http://127.0.0.1:{port}/x",
        "RECO_WEBHOOK_SECRET": SECRET,
        "RECO_WEBHOOK_QUEUE": str(queue),
    }
    with System(tmp_path / "system", environment=hook, SCORE_TOL="5.000", NUM_AUG="0") as system:
        api = Api(system)
        api.create("RECO_ID_1", jpeg(astronaut()))
        assert api.ask("DELETE", "/v1/people/RECO_ID_1")[0] == 200
        with receiving(port, [503, 302]) as received:  # a redirection is not followed
            pass
        assert [body["type"] for _, body in received] == ["person.enrolled", "person.deleted"]
        assert [body["data"]["person_id"] for _, body in received] == ["RECO_ID_1"] * 2
        assert len({notice_id for notice_id, _ in received}) == 2
        assert queue.stat().st_mode & 0o077 == 0
