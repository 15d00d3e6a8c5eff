"""The web console's files, reco.gateway.v1.ConsoleService; they lie in services/gateway/console."""

from pathlib import Path

import grpc
from google.api import httpbody_pb2
from reco.gateway.v1 import console_pb2 as pb
from reco.gateway.v1 import console_pb2_grpc

from services.gateway.errors import FileUnknown

FOLDER = Path(__file__).parents[1] / "console"
PAGE = "index.html"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class ConsoleServicer(console_pb2_grpc.ConsoleServiceServicer):
    """Answers the files that there are when it is made, and no others."""

    def __init__(self, folder: Path = FOLDER):
        self._files = {
            str(path.relative_to(folder)): httpbody_pb2.HttpBody(
                content_type=CONTENT_TYPES[path.suffix], data=path.read_bytes()
            )
            for path in sorted(folder.rglob("*"))
            if path.suffix in CONTENT_TYPES
        }

    def GetFile(self, request: pb.GetFileRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        try:
            return self._files[request.name or PAGE]
        except KeyError:
            raise FileUnknown("the console has no such file") from None
