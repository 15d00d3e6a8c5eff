"""The four services as single processes, to be killed and started again one by one; no Envoy."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.run import PROCESS
from services.common.server import GRACE
from tests.machine import ROOT, free_port

NAMES = ("detector", "liveness", "embedder", "gateway")


class Services:
    """Processes on ports of their own; a context manager that ends them. A second copy is named such as `gateway-2`."""

    def __init__(self, env_file: Path, names: tuple[str, ...] = NAMES, stages: str = "", **more: str):
        """`stages`: the address of all stages that are not among `names`; `more`: variables of the environment."""
        self._stages = stages
        self.ports = {name: free_port() for name in names}
        self._folder = env_file.parent
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **PROCESS,
            **os.environ,
            **{f"RECO_{service.upper()}": self._target(service) for service in NAMES},
            "RECO_ENV_FILE": str(env_file),
            "RECO_CACHE": str(ROOT / "var" / "cache"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
            "GRPC_VERBOSITY": "NONE",
            "RECO_ATTEMPTS_PER_MINUTE": "0",  # the same few people are claimed again and again
            **more,
        }

    def _target(self, service: str) -> str:
        """All copies of a service, for a client that balances over them."""
        copies = [f"127.0.0.1:{port}" for name, port in self.ports.items() if name.partition("-")[0] == service]
        return f"ipv4:{','.join(copies or [self._stages])}"

    def start(self, name: str) -> None:
        """Starts a service; `wait` says when it serves."""
        service = name.partition("-")[0]
        environment = {**self.environment, f"RECO_{service.upper()}_LISTEN": f"127.0.0.1:{self.ports[name]}"}
        command = [sys.executable, "-m", f"services.{service}"]
        with open(self._folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """kill -9: no chance to tidy up."""
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def stop(self, name: str) -> None:
        """SIGTERM, as process managers and Kubernetes stop a copy; waits until it has ended well."""
        self._processes[name].terminate()
        assert self._processes[name].wait(timeout=GRACE + 10) == 0, self.log(name)[-4000:]

    def pid(self, name: str) -> int:
        """A service's process."""
        return self._processes[name].pid

    def channel(self, name: str) -> grpc.Channel:
        """A channel to a service, with connections of its own."""
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}", options)

    def wait(self, *names: str) -> None:
        """Waits until services say SERVING."""
        deadline = time.monotonic() + 60
        for name in names:
            while not self._serves(name):
                assert time.monotonic() < deadline, self.log(name)[-4000:]
                time.sleep(0.05)

    def _serves(self, name: str) -> bool:
        with self.channel(name) as channel:
            try:
                health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True
                )
            except grpc.RpcError:
                return False
        return True

    def log(self, name: str) -> str:
        """What a service has printed."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def __enter__(self) -> "Services":
        for name in self.ports:
            self.start(name)
        self.wait(*self.ports)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + GRACE + 10
        for process in self._processes.values():
            process.wait(timeout=max(1.0, deadline - time.monotonic()))
