"""A real object store for tests, on a port and in a folder of its own: versitygw, which speaks S3 over a file system."""

import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.load.tools import built
from tests.machine import free_port

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
BUCKET = "reco-test"
SECRET = "lasvegas"


class ObjectStore:
    """A server with one bucket; a context manager that stops it."""

    def __init__(self, folder: Path):
        """`folder`: empty; gets the buckets. Raises ToolMissing."""
        self.port = free_port()
        self.buckets = folder / "buckets"
        self._folder = folder
        self._program = built("versitygw", VERSITYGW)
        self._process: subprocess.Popen[bytes]
        for name in (f"buckets/{BUCKET}", "versions"):
            (folder / name).mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Amazon's clients, and so the gateway's, find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "reco",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Starts the server, with what it held when it was stopped, and waits until it answers."""
        command = [str(self._program), "--port", f"127.0.0.1:{self.port}", "--access", "reco", "--secret", SECRET]
        command += ["--quiet", "posix", "--versioning-dir", f"{self._folder}/versions", str(self.buckets)]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, "the object store did not start"
                time.sleep(0.05)

    def stop(self) -> None:
        """kill -9, as a machine that goes down does."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
