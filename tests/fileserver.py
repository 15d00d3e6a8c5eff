"""An http server for tests of downloads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `content` at any address; every fault can be switched on."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.status = 200
        self.content_type = "application/octet-stream"
        self.etag = '"one"'
        self.cuts: list[int] = []  # each transfer takes one off: bytes after which it is cut
        self.requests: list[tuple[str, str | None]] = []  # (path, Range header)

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = self._start(server)
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)
        self.close_connection = True

    def _start(self, server: FileServer) -> int:
        wanted = self.headers.get("Range")
        return int(wanted[6:-1]) if wanted and self.headers.get("If-Range") == server.etag else 0

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    """Runs a server in a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
