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

from tests.machine import ROOT

REQUIREMENTS = ROOT / "requirements" / "images"
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
#: Weight files that need not be fetched.
WEIGHTS = ROOT / "var" / "models"
#: Of an image's virtual environment: what its site-packages lead to, so that the image holds all that it needs wherever
#: this environment lies.
PACKAGES = "packages"
SITE = Path(sysconfig.get_path("purelib"))
#: Not the link to it in a virtual environment.
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


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
    found: list[Instruction] = []
    stage = -1
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
    return Image(
        environment=dict(pair.split("=", 1) for pair in shlex.split(text["ENV"])),
        user=text["USER"],
        command=_exec_form(text["CMD"]),
        healthcheck=_exec_form(text["HEALTHCHECK"]),
    )


def _exec_form(text: str) -> list[str]:
    return re.findall(r'"([^"]*)"', text)


def packages_of(service: str, *more: str) -> set[str]:
    """The packages that the image of a service installs; `more`: build arguments that add some, in lower case."""
    files = [service, *more]
    pins = [pin for file in files for pin in (REQUIREMENTS / f"{file}.txt").read_text().splitlines() if "==" in pin]
    return {pin.partition("==")[0] for pin in pins}


def lay_out(service: str, folder: Path, models: str) -> None:
    """Makes `app` and `opt/reco` in the folder: the service's code and stubs, its networks, and its packages alone.

    The packages are links into PACKAGES beside them, where `mount_packages` brings all that are installed here.
    """
    app, environment = folder / "app", folder / "opt" / "reco"
    for part in (
        "services/common",
        "services/images",
        f"services/{service}",
        "gen",
        "deploy/docker",
        "deploy/envoy",
        "deploy/models",
    ):
        shutil.copytree(ROOT / part, app / part, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for file in ("services/__init__.py", "deploy/__init__.py"):
        shutil.copy(ROOT / file, app / file)
    virtual_environment(service, environment, packages=environment / PACKAGES)
    bake = [sys.executable, "-m", "deploy.docker.bake", service, models]
    paths = {"PYTHONPATH": f"{app}:{app / 'gen'}", "RECO_MIRROR": os.environ.get("RECO_MIRROR") or str(WEIGHTS)}
    subprocess.run(bake, cwd=app, env={**os.environ, **paths}, check=True, stdout=subprocess.DEVNULL)
    (app / "cache" / "index").mkdir()
    subprocess.run(["chmod", "-R", "a+rX,go-w", app], check=True)


def mount_packages(environment: Path) -> Path:
    """Mounts all packages that are installed here into a virtual environment; needs root and a mount namespace."""
    packages = environment / PACKAGES
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", "-o", "ro", SITE, packages], check=True)
    return packages


def virtual_environment(service: str, folder: Path, *more: str, packages: Path = SITE) -> None:
    """Links to the packages that the image installs, and to nothing else that is installed here.

    Args:
        more: see `packages_of`.
        packages: where the links lead.
    """
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(PYTHON)
    (folder / "pyvenv.cfg").write_text(f"home = {PYTHON.parent}\ninclude-system-site-packages = false\n")
    for name in packages_of(service, *more):
        for top in {file.parts[0] for file in distribution(name).files or ()} - {"..", "__pycache__"}:
            link = site / top
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(packages / top, site))
