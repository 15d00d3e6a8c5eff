"""Runs the whole system for a test: real processes, real Envoy, ports and folders of its own."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from deploy.local.client import Client
from deploy.local.run import PORT_ORDER
from tests.machine import ROOT, free_port, free_ports

READY = "RECO is ready"
#: Of .env.example.
RECOGNISER = "MobileFaceNet"


class System:
    """A running system; a context manager that stops it and checks that it stopped cleanly."""

    def __init__(
        self,
        folder: Path,
        mirror: Path | None = None,
        environment: Mapping[str, str] | None = None,
        **settings: str | None,
    ):
        """
        Args:
            folder: empty; gets `.env`, the database, uploads, photos and the log of the run.
            mirror: RECO_MIRROR.
            environment: more variables for all processes.
            settings: see `write_env`.
        """
        self.folder = folder
        self.port, self.admin_port, self.base_port = free_port(), free_ports(5), free_ports(4)
        self.client = Client(f"http://localhost:{self.port}")
        unlimited = {"RECO_ATTEMPTS_PER_MINUTE": "0"}  # tests and benchmarks claim the same few people again and again
        self._environment = {"RECO_MIRROR": str(mirror or ""), **unlimited, **(environment or {})}
        self._process: subprocess.Popen[bytes]
        for name in ("db", "uploads", "log"):
            (folder / "var" / name).mkdir(parents=True, exist_ok=True)
        self.write_env(**settings)

    def write_env(self, **settings: str | None) -> None:
        """Writes `.env` anew: .env.example with these values changed; None leaves a key out."""
        lines = (ROOT / ".env.example").read_text().splitlines()
        example = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        pairs = {**example, **settings}
        text = "".join(f"{key}={value}\n" for key, value in pairs.items() if value is not None)
        unfinished = self.folder / ".env.new"
        unfinished.write_text(text)
        unfinished.replace(self.folder / ".env")

    def start(self) -> None:
        """Starts all processes and waits until they are ready."""
        command = [
            sys.executable, "-m", "deploy.local.run", "--listen", "127.0.0.1",
            "--port", str(self.port), "--admin-port", str(self.admin_port), "--base-port", str(self.base_port),
            "--env-file", str(self.folder / ".env"), "--state", str(self.folder / "var"),
        ]  # fmt: skip
        environment = {**os.environ, "RECO_CACHE": str(ROOT / "var" / "cache"), **self._environment}
        with open(self.folder / "run.log", "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 120
        while READY not in self.log():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the system did not start:\n{self.log()[-4000:]}")
            time.sleep(0.1)

    def log(self) -> str:
        """All that the processes have printed."""
        return (self.folder / "run.log").read_text(errors="replace")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Asks the process manager to stop, as Ctrl-C does; returns its exit status."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Waits until all processes have ended; returns the process manager's exit status."""
        return self._process.wait(timeout=60)

    def pids(self, name: str) -> list[int]:
        """The processes that were started of a part, the running one last."""
        return [int(pid) for pid in re.findall(rf"\b{name} started \(pid=(\d+)\)", self.log())]

    def kill_manager(self) -> None:
        """kill -9 of the process manager."""
        self._process.kill()

    def address(self, service: str) -> str:
        """Where a service listens."""
        return f"127.0.0.1:{self.base_port + PORT_ORDER.index(service)}"

    def metrics(self, name: str) -> str:
        """What Prometheus would read of a service, or of `envoy`."""
        if name == "envoy":
            url = f"http://127.0.0.1:{self.admin_port}/stats/prometheus"
        else:
            url = f"http://127.0.0.1:{self.admin_port + 1 + PORT_ORDER.index(name)}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    @property
    def images(self) -> Path:
        """DB_PATH."""
        return self.folder / "var" / "db"

    @property
    def uploads(self) -> Path:
        """UPLOAD_FOLDER."""
        return self.folder / "var" / "uploads"

    def __enter__(self) -> "System":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            assert self.stop() == 0, self.log()[-4000:]
