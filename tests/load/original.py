"""Speaks to original_worker.py; makes its virtual environment at the first use."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import Any

from tests.machine import ROOT
from tests.packages import DLIB_FILE, package_file

VENV = ROOT / ".venv-bench"
PYTHON = VENV / "bin" / "python"
HOME = ROOT / "var" / "bench"


class Absent(Exception):
    """What users have today cannot be had on this machine; the text says why."""


class Original:
    """A process with the mtcnn package and deepface; a context manager that ends it."""

    def __init__(self, threads: int):
        """`threads`: of TensorFlow; 0 for its own choice."""
        _prepare()
        environment = {**os.environ, "DEEPFACE_HOME": str(HOME), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        worker = ROOT / "tests" / "load" / "original_worker.py"
        with open(HOME / "worker.log", "wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, worker, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )

    def ask(self, do: str, **order: object) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            Absent: it died.
        """
        orders, answers = self._process.stdin, self._process.stdout
        assert orders and answers, "both are pipes"
        with suppress(BrokenPipeError):
            orders.write(json.dumps({"do": do, **order}) + "\n")
            orders.flush()
        line = answers.readline()
        if not line:
            raise Absent("the worker died: " + (HOME / "worker.log").read_text()[-300:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> "Original":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _prepare() -> None:
    requirements = ROOT / "requirements" / "bench.txt"
    stamp = VENV / ".installed"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        print("installing what users have today into .venv-bench (once, minutes) …", file=sys.stderr)
        make = [sys.executable, "-m", "venv", str(VENV)]
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (make, [*pip, "--require-hashes", "-r", str(requirements)]):
            if subprocess.run(command).returncode:
                raise Absent("TensorFlow, mtcnn and deepface could not be installed into .venv-bench")
        stamp.write_text(requirements.read_text())
    weights = HOME / ".deepface" / "weights" / "dlib_face_recognition_resnet_model_v1.dat"
    weights.parent.mkdir(parents=True, exist_ok=True)
    packaged = package_file("face_recognition_models", DLIB_FILE)
    if packaged is None:
        raise Absent("dlib's weights are not installed")
    if not weights.exists():
        shutil.copyfile(packaged, weights)
