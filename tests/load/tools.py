"""The load generators: ghz for gRPC, built by Go once; wrk for HTTP, a Debian package."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.machine import ROOT

BIN = ROOT / "var" / "bin"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.120.0"


class ToolMissing(Exception):
    """A load generator is not there and cannot be had; the message says what helps."""


def ghz() -> Path:
    """The program; raises ToolMissing."""
    program = shutil.which("ghz", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    if program:
        return Path(program)
    if not shutil.which("go"):
        raise ToolMissing(
            "ghz is not installed, and there is no Go to build it with: install Go (or ghz), then try again"
        )
    print("building ghz (once, some minutes) …", flush=True)
    BIN.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        ["go", "install", GHZ], env={**os.environ, "GOBIN": str(BIN)}, capture_output=True, text=True
    )
    if built.returncode:
        raise ToolMissing(f"ghz could not be built: {built.stderr.strip()[-500:]}")
    return BIN / "ghz"


def wrk() -> Path:
    """The program; raises ToolMissing."""
    program = shutil.which("wrk")
    if not program:
        installed = subprocess.run([ROOT / "deploy" / "local" / "apt-install", "wrk"], capture_output=True, text=True)
        if installed.returncode:
            raise ToolMissing(f"wrk is not installed: {installed.stderr.strip()}")
        program = "/usr/bin/wrk"
    return Path(program)
