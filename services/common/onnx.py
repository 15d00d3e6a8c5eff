"""Running ONNX networks."""

import fcntl
import hashlib
import logging
import os
import platform
import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

log = logging.getLogger("reco")

#: Goes into the name of a prepared file: raise it when the same network comes to be prepared in another way.
PREPARING_REVISION = 1
#: Tensors from this many bytes on go into the file that is mapped.
LEAST_MAPPED = 1024
#: What of /proc/cpuinfo decides how ONNX Runtime lays weights out (x86 and ARM).
PROCESSOR_FACTS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")

#: What ONNX Runtime raises for files that it cannot make a network of.
ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Session(Protocol):
    """A network that is ready to run. Safe to call from several threads."""

    def run(self, outputs: list[str] | None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]: ...


def open_session(model: Path | bytes, threads: int = 1) -> Session:
    """Opens an ONNX file on the CPU. Its weights lie in memory of this process alone.

    One thread a call is the default: several requests side by side use the cores better than one request split up.
    """
    return _open(model, _options(threads))


def open_shared_session(network: Path, cache: Path, threads: int = 1) -> Session:
    """Opens an ONNX file such that all processes on this machine which open it have one copy of its weights in memory.

    ONNX Runtime lays weights out anew for the processor when it opens a network, in memory of the process's own, even
    where the file is mapped. Here that is done once and kept as two files of the cache, `<name>.onnx` and the weights
    in `<name>.bin`, which is mapped and used as it is. They belong to one kind of processor and one release of ONNX
    Runtime: their name tells both. What the network gives is the same to the bit. Where the cache cannot be used the
    network is opened as by `open_session`.

    Args:
        cache: made if missing; may be shared by machines.
    """
    try:
        options = _options(threads)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # that is done
        return _open(_prepared(network, cache), options)
    except (OSError, *ORT_ERRORS) as error:
        log.warning("%s is not shared with other processes: %s", network, error)
        return open_session(network, threads)


def _open(model: Path | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    content = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _options(threads: int = 1) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _prepared(network: Path, cache: Path) -> Path:
    """The network as ONNX Runtime wants it on this processor, made now if the cache does not hold it."""
    with network.open("rb") as file:  # of a network with its weights beside it the name tells those
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache / f"{network.stem}-{digest[:16]}-{runtime()}-p{PREPARING_REVISION}.onnx"
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".prepare.lock").open("w") as lock:  # one at a time: it takes twice the network's memory
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file():
                _prepare(network, target)
    return target


def _prepare(network: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        written = Path(folder) / target.name
        weights = written.with_suffix(".bin")
        options = _options()
        options.optimized_model_filepath = str(written)
        for entry, value in {
            "session.optimized_model_external_initializers_file_name": weights.name,
            "session.optimized_model_external_initializers_min_size_in_bytes": str(LEAST_MAPPED),
            "session.save_external_prepacked_constant_initializers": "1",
        }.items():
            options.add_session_config_entry(entry, value)
        _open(network, options)
        # The weights first: whoever finds the .onnx file must find them too. A tiny network has none to map.
        for part in (weights, written):
            if part.is_file():
                _sync(part)
                part.replace(target.parent / part.name)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def runtime() -> str:
    """Eight digits that tell this release of ONNX Runtime and this kind of processor from others."""
    facts = {ort.__version__, platform.machine()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts |= {line for line in lines if line.partition(":")[0].strip() in PROCESSOR_FACTS}
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()[:8]
