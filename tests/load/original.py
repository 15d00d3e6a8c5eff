"""Speaks to original_worker.py; makes its virtual environment at the first use."""

import json
import os
import shutil
import subprocess
import sys

from deploy.models.formats.dlib_dat import find_package_file
from tests.e2e.system import ROOT

VENV = ROOT / ".venv-bench"
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
        command = [VENV / "bin" / "python", ROOT / "tests" / "load" / "original_worker.py", str(threads)]
        with open(HOME / "worker.log", "wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )

    def ask(self, do: str, **order: object) -> dict:
        """The worker's answer.

        Raises:
            Absent: it died.
        """
        try:
            self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise Absent("the worker died: " + (HOME / "worker.log").read_text()[-300:])
        return json.loads(line)

    def __enter__(self) -> "Original":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def _prepare() -> None:
    requirements = ROOT / "requirements" / "bench.txt"
    stamp = VENV / ".installed"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        print("installing what users have today into .venv-bench (once, minutes) …", file=sys.stderr)
        pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", VENV], [*pip, "-r", requirements]):
            if subprocess.run(command).returncode:
                raise Absent("TensorFlow, mtcnn and deepface could not be installed into .venv-bench")
        stamp.write_text(requirements.read_text())
    weights = HOME / ".deepface" / "weights" / "dlib_face_recognition_resnet_model_v1.dat"
    weights.parent.mkdir(parents=True, exist_ok=True)
    packaged = find_package_file()
    if packaged is None:
        raise Absent("dlib's weights are not installed")
    if not weights.exists():
        shutil.copyfile(packaged, weights)
