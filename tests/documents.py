"""The commands in README and docs, as tests read them from there, and a clone in which they can be run as they stand."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.system import READY
from tests.machine import ROOT, free_port, free_ports

DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))

#: Of fenced blocks that hold commands; those of other languages have a name.
LANGUAGES = ("", "sh")


def blocks(document: str) -> list[list[str]]:
    """The commands of each fenced block, lines that go on joined, comments and output left out."""
    text = (ROOT / document).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [_commands(lines) for language, lines in found if language in LANGUAGES]


def block(document: str, beginning: str) -> list[str]:
    """The commands of the block whose first one begins so."""
    (found,) = [commands for commands in blocks(document) if commands and commands[0].startswith(beginning)]
    return found


def _commands(lines: str) -> list[str]:
    is_transcript = bool(re.search(r"^\$ ", lines, re.MULTILINE))
    commands = []
    for line in lines.replace("\\\n", " ").splitlines():
        if is_transcript and not line.startswith("$ "):
            continue  # what the command before it printed
        command = re.sub(r"(^|\s+)#\s.*$", "", line.removeprefix("$ ")).strip()
        if command:
            commands.append(re.sub(r"\s+", " ", command))
    return commands


class Clone:
    """A fresh clone, set up already, to run commands of documents in; a context manager that stops what they started.

    Attributes:
        folder: its root.
        replaced: what stands in documents, and what it is here: ports, folders that only root may write to, keys.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]):
        names = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
        for name in filter(None, names.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        shutil.copytree(ROOT / "gen", folder / "gen", copy_function=shutil.copy2)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / "gen" / "reco.pb").touch()
        self.folder, self.port = folder, free_port()
        self.base_port = free_ports(4)
        ports = {"PORT": self.port, "BASE_PORT": self.base_port, "ADMIN_PORT": free_ports(5)}
        cache = {"RECO_CACHE": str(ROOT / "var" / "cache")}
        self.environment = {**os.environ, **cache, **environment, **{name: str(port) for name, port in ports.items()}}
        self.environment.pop("MAKEFLAGS", None)
        self.replaced = {"localhost:8001": f"localhost:{self.port}"}
        self._serving: subprocess.Popen[bytes] | None = None

    def run(self, command: str) -> str:
        """What a command prints to standard output; one that serves is left running once it is ready."""
        for written, here in self.replaced.items():
            command = command.replace(written, here)
        if re.search(r"\bmake run\b", command):
            self._serve(command)
            return ""
        if exported := re.fullmatch(r"export (\w+)=(\S+)", command):
            self.environment[exported[1]] = exported[2]
            return ""
        shell = ["bash", "-euo", "pipefail", "-c", command]
        ended = subprocess.run(
            shell, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def stop(self) -> None:
        """Stops what serves, as Ctrl-C does."""
        if self._serving:
            os.killpg(self._serving.pid, signal.SIGINT)
            self._serving.wait(timeout=60)
            self._serving = None

    def _serve(self, command: str) -> None:
        self.stop()
        log = self.folder / "run.log"
        with open(log, "wb") as output:
            self._serving = subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self.environment,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 120
        while READY not in log.read_text(errors="replace"):
            assert self._serving.poll() is None and time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(0.1)

    def __enter__(self) -> "Clone":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
