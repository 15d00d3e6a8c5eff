"""Milvus for tests: Lite in a file or behind an address, and a real server, each on ports and in a folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import pytest

from tests.machine import free_port

#: The database in Milvus' own process, on ports of its own too.
ETCD = """\
name: default
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{clients}
advertise-client-urls: http://127.0.0.1:{clients}
listen-peer-urls: http://127.0.0.1:{peers}
initial-advertise-peer-urls: http://127.0.0.1:{peers}
initial-cluster: default=http://127.0.0.1:{peers}
"""


def require_milvus() -> None:
    """Skips the test where Milvus Lite is not installed."""
    for package in ("pymilvus", "milvus_lite"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed, so nothing of Milvus is tested; `make test` installs it")


class Server:
    """A program that speaks Milvus' protocol at an address; a context manager that stops it."""

    #: Why it cannot be had here; empty where it can.
    missing = ""

    def __init__(self, folder: Path):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder / "milvus"
        self.folder.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes]

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables that it is started with."""
        return dict(os.environ)

    def start(self) -> None:
        """Starts it, with what it held when it was stopped, and waits until it answers."""
        with open(self.folder / "milvus.log", "ab") as log:
            self._process = subprocess.Popen(
                self.command(), env=self.environment(), cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self._process.poll() is None and time.monotonic() < deadline, f"it did not start: {self.folder}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Kills it."""
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait(timeout=60)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def freeze(self) -> None:
        """Halts it, so that it takes connections and answers nothing, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)

    def answers(self) -> bool:
        """Whether it lists its collections."""
        import grpc
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                return False
        try:
            client = MilvusClient(self.uri, timeout=2)
            client.list_collections(timeout=2)
            client.close()
        except (MilvusException, grpc.RpcError):
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LiteServer(Server):
    """Milvus Lite behind an address."""

    def command(self) -> list[str]:
        program = str(Path(sys.executable).parent / "milvus-lite")
        return [program, "server", "--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]


class RealServer(Server):
    """Milvus 2.3, standalone, of the package `milvus`."""

    missing = "" if find_spec("milvus") else "the package milvus is not installed; `make test` installs it"

    def __init__(self, folder: Path):
        import milvus

        super().__init__(folder)
        self._metrics = free_port()
        etcd = self.folder / "etcd.yaml"
        etcd.write_text(ETCD.format(folder=self.folder, clients=free_port(), peers=free_port()))
        config = milvus.MilvusServerConfig(data_dir=str(self.folder))
        for key in [key for key in config.configurable_items if key.endswith("_port")]:
            config.set(key, self.port if key == "proxy_port" else free_port())
        config.resolve_storage()
        config.write_config()
        milvus._initialize_data_files(str(self.folder))
        settings = self.folder / "configs" / "milvus.yaml"
        text = settings.read_text().replace("  use:\n    embed:", f"  config:\n    path: {etcd}\n  use:\n    embed:")
        settings.write_text(text.replace("timeTickInterval: 200", "timeTickInterval: 20"))  # or all waits for its clock

    def command(self) -> list[str]:
        return [str(self.folder / "bin" / "milvus"), "run", "standalone"]

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "DEPLOY_MODE": "STANDALONE",
            "LD_LIBRARY_PATH": str(self.folder / "bin"),
            "METRICS_PORT": str(self._metrics),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
        }
