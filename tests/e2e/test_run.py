"""`make run`: says when it is ready, what is wrong, and stops cleanly."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.machine import ROOT, free_port, free_ports

PARTS = ("detector", "liveness", "embedder", "gateway", "envoy")


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


def test_envoy_is_started_again_when_it_dies(tmp_path: Path):
    with System(tmp_path) as system:
        os.kill(system.pids("envoy")[-1], signal.SIGKILL)
        wait_for(lambda: "envoy stopped (rc=-9); starting it again in 0.5 s" in system.log())
        wait_for(lambda: answers(system))
        assert len(system.pids("envoy")) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_everything_too(tmp_path: Path, number: int):
    system = System(tmp_path)
    system.start()
    pids = [pid for name in PARTS for pid in system.pids(name)]
    assert system.stop(number) == 0
    assert not [pid for pid in pids if alive(pid)]


def test_a_manager_that_is_killed_leaves_no_process_behind(tmp_path: Path):
    system = System(tmp_path)
    system.start()
    pids = [pid for name in PARTS for pid in system.pids(name)]
    assert len(pids) == 5 and all(map(alive, pids))
    system.kill_manager()
    assert system.wait() == -signal.SIGKILL
    wait_for(lambda: not any(map(alive, pids)))


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(system: System) -> bool:
    with suppress(OSError):
        return bool(system.client.verify("RECO_ID_1-1")["recognition_code"] == 189)
    return False


def alive(pid: int) -> bool:
    """Whether it runs; what has ended and nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_broken_env_is_said_at_start_and_everywhere(tmp_path: Path):
    system = System(tmp_path, NUM_AUG="many")
    with system:
        assert "NUM_AUG: 'many' is not a whole number" in system.log()
        answer = system.client.verify("RECO_ID_1-1")
        assert (answer["recognition_code"], answer["system_errors"]["not_in_env"]) == (176, [])
        system.write_env()
        assert system.client.verify("RECO_ID_1-1")["recognition_code"] == 189
