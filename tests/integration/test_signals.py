"""A service that is told to stop stops, however often it is told."""

import os
import signal
import subprocess
import sys

from tests.machine import ROOT

SERVICE = """
from services.common.server import Server, ServerOptions, run
class Told(Server):
    def start(self):
        super().start()
        print("started", flush=True)
run(Told(ServerOptions("127.0.0.1:0"), {}), "told")
"""


def test_signals_in_quick_succession():
    """As the kernel sends them when a process manager dies: one for each of its threads."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    service = subprocess.Popen([sys.executable, "-c", SERVICE], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout and service.stdout.readline() == "started\n"
        for _ in range(20_000):
            os.kill(service.pid, signal.SIGTERM)
        assert service.wait(timeout=15) in (0, -signal.SIGTERM), "the last ones may come when Python itself is ending"
    finally:
        service.kill()
        service.wait()
