"""Keras weight files to ONNX networks, by the Python of `.venv-convert`: it alone has TensorFlow and deepface."""

import os
import subprocess
import sys
from pathlib import Path

from services.common.errors import ModelUnavailable

#: Raise it when the same file comes to give another network.
REVISION = 1
#: Seconds that a conversion may take. VGG-Face takes one minute on two cores.
TIMEOUT = 1800
ROOT = Path(__file__).resolve().parents[3]


class ConverterMissing(ModelUnavailable):
    """A Keras file is to be converted and `.venv-convert` is not here."""

    reason = "CONVERTER_MISSING"


def converter() -> Path:
    """The Python that has TensorFlow: RECO_CONVERT_PYTHON, or that of `.venv-convert`; it need not exist."""
    return Path(os.environ.get("RECO_CONVERT_PYTHON") or ROOT / ".venv-convert" / "bin" / "python")


def convert(weights: Path, target: Path, network: str | None) -> None:
    """Makes an ONNX file of a Keras file.

    Args:
        weights: a Keras `.h5` file, or a zip of one.
        network: deepface's name of the network whose weights these are; None for a file with a whole model.

    Raises:
        ConverterMissing: `.venv-convert` is needed; the message says how to make it.
        ModelUnavailable: the file cannot be read or converted.
    """
    python = converter()
    if not python.is_file():
        models = f" MODELS={network}" if network else ""
        raise ConverterMissing(
            f"{weights} is a Keras file, to be converted to ONNX once. `make models{models}` does it (and installs "
            f"TensorFlow beside RECO for it, 1.7 GB)."
        )
    print(f"converting {weights} to ONNX, once; this takes up to a few minutes", file=sys.stderr)
    command: list[str | Path] = [
        python,
        "-m",
        "deploy.models.keras.export",
        network or "-",
        weights.absolute(),
        target.absolute(),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise ModelUnavailable(f"{weights} was not converted to ONNX within {TIMEOUT} s") from error
    if done.returncode:
        raise ModelUnavailable(f"{weights} could not be converted to ONNX: {_complaint(done)}")
    print(f"{weights.name}: converted to ONNX, {done.stdout.decode(errors='replace').strip()}", file=sys.stderr)


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last line that the converter wrote, which says what was wrong."""
    if done.returncode < 0:
        return f"the converter was ended by signal {-done.returncode} (9 as a rule means: not enough memory)"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
