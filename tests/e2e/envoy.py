"""Envoy alone, in front of gateways that are started elsewhere."""

import copy
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import yaml

from deploy.envoy.render import render
from tests.machine import ROOT, free_port


class Envoy:
    """Envoy as `make run` configures it, but balancing over several gateways; a context manager that ends it."""

    def __init__(
        self, folder: Path, gateways: Sequence[int], known: int | None = None, mtls: Path | None = None, **settings: str
    ):
        """
        Args:
            gateways: their ports on this machine.
            known: how many of them Envoy is to find serving; all of them if not given.
            mtls: RECO_MTLS.
            settings: of deploy/envoy/render.py, such as TIMEOUT.
        """
        self.port, self._admin_port = free_port(), free_port()
        self._folder = folder
        self._gateways = gateways
        self._known = len(gateways) if known is None else known
        self._settings = {f"RECO_ENVOY_{name}": value for name, value in settings.items()}
        self._settings["RECO_MTLS"] = str(mtls or "")
        self._process: subprocess.Popen[bytes]

    def _configuration(self) -> str:
        place = {
            "ADMIN_PORT": self._admin_port,
            "STATS_PORT": "",
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": self.port,
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": self._gateways[0] if self._gateways else free_port(),
            "DESCRIPTOR_SET": ROOT / "gen" / "reco.pb",
        }
        configuration = yaml.safe_load(render(self._settings, place))
        cluster = next(c for c in configuration["static_resources"]["clusters"] if c["name"] == "gateway")
        (endpoints,) = cluster["load_assignment"]["endpoints"]  # the very list of all clusters of gateways
        (first,) = endpoints["lb_endpoints"]
        for port in self._gateways[1:]:
            another = copy.deepcopy(first)
            another["endpoint"]["address"]["socket_address"]["port_value"] = port
            endpoints["lb_endpoints"].append(another)
        return str(yaml.safe_dump(configuration))

    def wait(self, healthy: int) -> None:
        """Waits until Envoy sees that many gateways serving."""
        url = f"http://127.0.0.1:{self._admin_port}/stats?filter=cluster.gateway(.uploads)%3F.membership_healthy"
        deadline = time.monotonic() + 30
        while not self._says(url, str(healthy)):
            assert time.monotonic() < deadline and self._process.poll() is None, self._log().read_text()[-4000:]
            time.sleep(0.1)

    @staticmethod
    def _says(url: str, number: str) -> bool:
        """Whether all values of statistics are that number."""
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return set(answer.read().decode().split()[1::2]) == {number}
        except OSError:
            return False

    def _log(self) -> Path:
        return self._folder / "envoy.log"

    def __enter__(self) -> "Envoy":
        path = self._folder / "envoy.yaml"
        path.write_text(self._configuration())
        binary = Path(sys.executable).parent / "envoy"
        command: list[str | Path] = [binary, "-c", path, "--log-level", "warning"]
        command += ["--concurrency", "2", "--use-dynamic-base-id"]
        with self._log().open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait(self._known)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
