"""Milvus Lite for tests: in a file of the test's own, or as a server on a port of its own."""

import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.machine import free_port


def require_milvus() -> None:
    """Skips the test where Milvus Lite is not installed."""
    for package in ("pymilvus", "milvus_lite"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed, so nothing of Milvus is tested; `make test` installs it")


class LiteServer:
    """Milvus Lite behind an address, as a cluster is; a context manager that stops it."""

    def __init__(self, folder: Path):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Starts it, with what it held when it was stopped, and waits until it listens."""
        command = [str(Path(sys.executable).parent / "milvus-lite"), "server", "--data-dir", str(self._folder / "data")]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        with open(self._folder / "milvus.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < deadline, "Milvus Lite did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait(timeout=60)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> "LiteServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
