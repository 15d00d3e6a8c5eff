"""Reads the weight files of the PyPI package `mtcnn` 1.0.0: lists of arrays, written by joblib and compressed by LZ4.

Such a file is a pickle, and reading it runs whatever it says: read none whose SHA-256 has not been compared before with
that of the package's own file (see sources.py).
"""

import io
from pathlib import Path

import joblib
import numpy as np

from deploy.models.formats import BrokenFile


def read_weights(file: Path | bytes) -> list[np.ndarray]:
    """A network's arrays.

    Args:
        file: its path, or all its bytes; of a known SHA-256.

    Returns:
        float32 arrays in TensorFlow's order and layouts: of a convolution (height, width, channels, filters), (filters,)
        and the PReLU's slopes (1, 1, filters); of a dense layer (inputs, outputs), (outputs,) and slopes (outputs,).

    Raises:
        BrokenFile: it holds something else than a list of arrays.
    """
    arrays = joblib.load(io.BytesIO(file) if isinstance(file, bytes) else file)
    if not isinstance(arrays, list) or not all(isinstance(array, np.ndarray) for array in arrays):
        raise BrokenFile("it holds no list of arrays")
    return arrays
