"""Programs that tests need: those that Go builds, once, and wrk, a Debian package."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.machine import ROOT

BIN = ROOT / "var" / "bin"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.120.0"


class ToolMissing(Exception):
    """A program is not there and cannot be had; the message says what helps."""


def ghz() -> Path:
    """The load generator for gRPC; raises ToolMissing."""
    return built("ghz", GHZ)


def built(name: str, package: str) -> Path:
    """A program that Go builds of a package, for good; raises ToolMissing."""
    program = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    if program:
        return Path(program)
    if not shutil.which("go"):
        raise ToolMissing(
            f"{name} is not installed, and there is no Go to build it with: install Go (or {name}), then try again"
        )
    print(f"building {name} (once, some minutes) …", flush=True)
    BIN.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        ["go", "install", package], env={**os.environ, "GOBIN": str(BIN)}, capture_output=True, text=True
    )
    if built.returncode:
        raise ToolMissing(f"{name} could not be built: {built.stderr.strip()[-500:]}")
    return BIN / name


def wrk() -> Path:
    """The load generator for HTTP; raises ToolMissing."""
    program = shutil.which("wrk")
    if not program:
        installed = subprocess.run([ROOT / "deploy" / "local" / "apt-install", "wrk"], capture_output=True, text=True)
        if installed.returncode:
            raise ToolMissing(f"wrk is not installed: {installed.stderr.strip()}")
        program = "/usr/bin/wrk"
    return Path(program)
