"""Keras weight files as ONNX networks: converted once by the Python of `.venv-convert`, kept in a cache folder.

Services need neither TensorFlow nor deepface for this; where nothing is left to convert, nobody does.
"""

import fcntl
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from services.common.errors import ModelUnavailable

log = logging.getLogger("reco")

#: Goes into the cached file's name: raise it when the same file comes to give another network.
EXPORT_REVISION = 1
#: Seconds that a conversion may take. VGG-Face takes one minute on two cores.
TIMEOUT = 1800
ROOT = Path(__file__).resolve().parents[3]


class ConverterMissing(ModelUnavailable):
    """A Keras file is to be converted and `.venv-convert` is not here."""

    reason = "CONVERTER_MISSING"


def cached_onnx(weights: Path, cache: Path, network: str | None = None) -> Path:
    """The ONNX file made of a Keras file, made now if the cache does not hold it. Safe for several processes at once.

    The file's name tells the content that it was made of. Its tensors lie beside it in a `.bin` of the same name.

    Args:
        weights: a Keras `.h5` file, or a zip of one.
        cache: made if missing.
        network: deepface's name of the network whose weights these are; None for a file with a whole model.

    Raises:
        ConverterMissing: `.venv-convert` is needed; the message says how to make it.
        ModelUnavailable: the file cannot be read or converted, or the cache cannot be written.
    """
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = cache / f"{(network or 'keras').lower()}-{digest[:32]}-r{EXPORT_REVISION}.onnx"
        if not target.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            with (cache / ".keras.lock").open("w") as lock:  # one at a time: conversions are large
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.is_file():
                    _convert(weights, target, network)
    except OSError as error:
        raise ModelUnavailable(f"{weights} could not be converted to ONNX in {cache}: {error}") from error
    return target


def converter() -> Path:
    """The Python that has TensorFlow: RECO_CONVERT_PYTHON, or that of `.venv-convert`; it need not exist."""
    return Path(os.environ.get("RECO_CONVERT_PYTHON") or ROOT / ".venv-convert" / "bin" / "python")


def _convert(weights: Path, target: Path, network: str | None) -> None:
    python = converter()
    if not python.is_file():
        models = f" MODELS={network}" if network else ""
        raise ConverterMissing(
            f"{weights} is a Keras file, to be converted to ONNX once. `make models{models}` does it (and installs "
            f"TensorFlow beside RECO for it, 1.7 GB)."
        )
    log.info("converting %s to ONNX, once; this takes up to a few minutes", weights)
    command = [python, "-m", "deploy.models.keras.export", network or "-", weights.absolute(), target.absolute()]
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


def _complaint(done: subprocess.CompletedProcess) -> str:
    """The last line that the converter wrote, which says what was wrong."""
    if done.returncode < 0:
        return f"the converter was ended by signal {-done.returncode} (9 as a rule means: not enough memory)"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
