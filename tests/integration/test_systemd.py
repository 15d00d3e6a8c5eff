"""The unit of systemd: systemd reads it, it is hardened, and what it starts serves from the folders that it names."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.machine import ROOT, free_port, free_ports

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")

#: Of systemd-analyze security: from 0, nothing that could be taken from a service is left to it, to 10.
MOST_EXPOSED = 2.5


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Where `make install-service` has written."""
    env = ROOT / ".env"
    made = not env.exists()
    if made:
        shutil.copy(ROOT / ".env.example", env)
    try:
        ports = {"PORT": free_port(), "BASE_PORT": free_ports(4), "ADMIN_PORT": free_ports(5)}
        environment = {
            **os.environ,
            "DESTDIR": str(tmp_path),
            "HOST": "127.0.0.1",
            **{k: str(v) for k, v in ports.items()},
        }
        subprocess.run([ROOT / "deploy" / "systemd" / "install"], env=environment, check=True)
    finally:
        if made:
            env.unlink()
    return tmp_path


def unit_of(folder: Path) -> Path:
    return folder / "etc" / "systemd" / "system" / "reco.service"


def test_systemd_takes_it_and_finds_it_hardened(installed: Path):
    unit = unit_of(installed)
    assert "@" not in re.sub(r"@system-service|#.*", "", unit.read_text())
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "reco.service" not in verified.stderr, verified.stderr
    command = ["systemd-analyze", "security", "--offline=true", str(unit)]
    told = subprocess.run(command, capture_output=True, text=True).stdout
    exposure = re.search(r"Overall exposure level for reco.service: ([0-9.]+)", told)
    assert exposure and float(exposure[1]) <= MOST_EXPOSED, told


def test_what_it_starts_serves_from_its_folders(installed: Path):
    lines = dict(line.split("=", 1) for line in unit_of(installed).read_text().splitlines() if "=" in line)
    command = shlex.split(lines["ExecStart"].replace("/var/lib/reco", f"{installed}/var/lib/reco"))
    variables = dict(pair.split("=", 1) for pair in lines["Environment"].split())
    port = command[command.index("--port") + 1]
    process = subprocess.Popen(
        command, cwd=lines["WorkingDirectory"], env={**os.environ, **variables}, start_new_session=True
    )
    try:
        until = time.monotonic() + 60
        while not _is_ready(port):
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.2)
        assert (installed / "var" / "lib" / "reco" / "var" / "reco.db").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0


def _is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
