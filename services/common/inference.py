"""Running ONNX networks."""

from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort


class Session(Protocol):
    """A network that is ready to run. Safe to call from several threads."""

    def run(self, outputs: list[str] | None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]: ...


def open_session(model: Path | bytes, threads: int = 1) -> Session:
    """Opens an ONNX file (memory-mapped where it keeps its tensors in a second file) on the CPU.

    One thread a call is the default: several requests side by side use the cores better than one request split up.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )
