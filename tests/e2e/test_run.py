"""`make run`: says when it is ready, what is wrong, and stops cleanly."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.machine import ROOT, free_port, free_ports


@pytest.mark.parametrize("count, said", [(1, "Port {} is taken"), (2, "Ports {}, {} are taken")])
def test_a_taken_port_is_said_clearly(count: int, said: str):
    port, admin_port, base_port = free_port(), free_ports(5), free_ports(4)
    taken = [port, admin_port][:count]
    numbers = ["--port", port, "--admin-port", admin_port, "--base-port", base_port]
    with ExitStack() as others:
        for number in taken:
            others.enter_context(socket.create_server(("127.0.0.1", number)))
        command = [sys.executable, "-m", "deploy.local.run", *map(str, numbers)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert said.format(*taken) in ended.stderr


def test_ctrl_c_stops_everything_and_a_second_start_is_quick(tmp_path: Path):
    system = System(tmp_path)
    system.start()
    pids = re.findall(r"started \(pid=(\d+)\)", system.log())
    assert len(pids) == 5
    assert system.stop(signal.SIGINT) == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in system.log()
    started = time.monotonic()
    (tmp_path / "run.log").unlink()
    with system:
        assert time.monotonic() - started < 60


@pytest.mark.parametrize("victim", ["gateway", "envoy"])
def test_a_part_that_dies_ends_the_run(tmp_path: Path, victim: str):
    system = System(tmp_path)
    system.start()
    (pid,) = re.findall(rf"{victim} started \(pid=(\d+)\)", system.log())
    os.kill(int(pid), signal.SIGKILL)
    assert system.wait() != 0
    assert f"{victim} stopped (rc=-9)" in system.log()


def test_a_broken_env_is_said_at_start_and_everywhere(tmp_path: Path):
    system = System(tmp_path, NUM_AUG="many")
    with system:
        assert "NUM_AUG: 'many' is not a whole number" in system.log()
        answer = system.client.verify("RECO_ID_1-1")
        assert (answer["recognition_code"], answer["system_errors"]["not_in_env"]) == (176, [])
        system.write_env()
        assert system.client.verify("RECO_ID_1-1")["recognition_code"] == 189
