"""Keys of a running system, made as people make them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.machine import ROOT


def access(folder: Path, *arguments: str) -> str:
    """What `make key` and its like run, on the system in a folder; gives what they print."""
    command = [sys.executable, "-m", "services.gateway.access", *arguments]
    environment = {**os.environ, "RECO_ENV_FILE": str(folder / ".env")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
