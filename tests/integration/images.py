"""What deploy/docker/Dockerfile makes, laid out in a folder by the same steps, where there is no container engine."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

from deploy.docker.requirements import package, requirements

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
SITE = Path(sysconfig.get_path("purelib"))


@dataclass(frozen=True)
class Instruction:
    """One instruction of the Dockerfile, its lines joined."""

    name: str
    text: str
    stage: int


@dataclass(frozen=True)
class Image:
    """What the last stage says of the image of a service."""

    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


def instructions() -> list[Instruction]:
    """The Dockerfile's instructions in order."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    found, stage = [], -1
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, text = line.strip().partition(" ")
            stage += name == "FROM"
            found.append(Instruction(name, " ".join(text.split()), stage))
    return found


def image(service: str) -> Image:
    """The image of a service, by the instructions of the last stage."""
    everything = instructions()
    last = [one for one in everything if one.stage == everything[-1].stage]
    text = {one.name: one.text.replace("${SERVICE}", service) for one in last}
    probe = re.search(r"CMD (\[.*\])", text["HEALTHCHECK"])
    return Image(
        environment=dict(pair.split("=", 1) for pair in shlex.split(text["ENV"])),
        user=text["USER"],
        command=_exec_form(text["CMD"]),
        healthcheck=_exec_form(probe[1]),
    )


def _exec_form(text: str) -> list[str]:
    return re.findall(r'"([^"]*)"', text)


def lay_out(service: str, folder: Path, models: str) -> None:
    """Makes `app` and `opt/reco` in the folder: the service's code and stubs, its packages alone, its networks."""
    app = folder / "app"
    for part in ("services/common", f"services/{service}", "gen", "deploy/docker", "deploy/envoy"):
        shutil.copytree(ROOT / part, app / part, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for file in ("services/__init__.py", "deploy/__init__.py"):
        shutil.copy(ROOT / file, app / file)
    virtual_environment(service, folder / "opt" / "reco")
    bake = [folder / "opt" / "reco" / "bin" / "python", "-m", "deploy.docker.bake", service, models]
    environment = {"PYTHONPATH": f"{app}:{app / 'gen'}", "RECO_MIRROR": os.environ.get("RECO_MIRROR", "")}
    subprocess.run(bake, cwd=app, env=environment, check=True, stdout=subprocess.DEVNULL)
    (app / "cache" / "index").mkdir()
    subprocess.run(["chmod", "-R", "a+rX,go-w", app, folder / "opt"], check=True)


def virtual_environment(service: str, folder: Path, milvus: bool = False) -> None:
    """Links to the packages that the image installs, and to nothing else that is installed here."""
    python = Path(sys.executable).resolve()
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    for pin in requirements(service, milvus):
        for top in {file.parts[0] for file in distribution(package(pin)).files or ()} - {"..", "__pycache__"}:
            link = site / top
            if not link.is_symlink():
                link.symlink_to(SITE / top)
