"""Running ONNX networks."""

import hashlib
import logging
import platform
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from services.common.cache import make_once

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


class Tensor(Protocol):
    """What a network takes or gives; a size that is free is a name, or None."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> list[int | str | None]: ...


class Session(Protocol):
    """A network that is ready to run. Safe to call from several threads."""

    def get_inputs(self) -> list[Tensor]: ...

    def get_outputs(self) -> list[Tensor]: ...

    def run(self, outputs: list[str] | None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]: ...


def open_session(model: Path | bytes, threads: int = 1) -> Session:
    """Opens an ONNX file on the CPU. Its weights lie in memory of this process alone.

    One thread a call is the default: several requests side by side use the cores better than one request split up.
    """
    return _open(model, _options(threads))


def open_shared_session(network: Path, sha256: str, cache: Path, threads: int = 1) -> Session:
    """Opens an ONNX file such that all processes on this machine which open it have one copy of its weights in memory.

    ONNX Runtime lays weights out anew for the processor when it opens a network, in memory of the process's own, even
    where the file is mapped. Here that is done once and kept as two files of the cache, `<name>.onnx` and the weights
    in `<name>.bin`, which is mapped and used as it is. They belong to one kind of processor and one release of ONNX
    Runtime: their name tells both. What the network gives is the same to the bit. Where the cache cannot be used the
    network is opened as by `open_session`.

    Args:
        sha256: of the file.
        cache: made if missing; may be shared by machines.
    """
    prepared = cache / f"{network.stem}-{sha256[:16]}-{runtime()}-p{PREPARING_REVISION}.onnx"
    try:
        options = _options(threads)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # that is done
        return _open(make_once(prepared, lambda draft: _prepare(network, draft)), options)
    except (OSError, *ORT_ERRORS) as error:
        log.warning("%s is not shared with other processes: %s", network, error)
        return open_session(network, threads)


def _open(model: Path | bytes, options: ort.SessionOptions) -> Session:
    content = model if isinstance(model, bytes) else str(model)
    session: Session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session


def _options(threads: int = 1) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _prepare(network: Path, target: Path) -> None:
    """Writes the network as ONNX Runtime wants it on this processor, its larger tensors into `<name>.bin` beside it."""
    options = _options()
    options.optimized_model_filepath = str(target)
    for entry, value in {
        "session.optimized_model_external_initializers_file_name": target.with_suffix(".bin").name,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(LEAST_MAPPED),
        "session.save_external_prepacked_constant_initializers": "1",
    }.items():
        options.add_session_config_entry(entry, value)
    _open(network, options)


def runtime() -> str:
    """Eight digits that tell this release of ONNX Runtime and this kind of processor from others."""
    facts = {ort.__version__, platform.machine()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts |= {line for line in lines if line.partition(":")[0].strip() in PROCESSOR_FACTS}
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()[:8]
