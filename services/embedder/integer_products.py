"""Products of integers, at about the speed of memory."""

from pathlib import Path

import numpy as np

from services.common import native


class IntegerProducts:
    """digits @ codes.T without a copy of the codes. Safe to call from several threads.

    BLAS has no product of integers, and that of ONNX Runtime lays the codes out anew at every call.
    """

    def __init__(self, cache: Path | None = None) -> None:
        """
        Args:
            cache: see native.load.

        Raises:
            ModelUnavailable: the loop cannot be compiled here.
        """
        self._run = native.load("services.embedder.integer_loops", cache)

    def __call__(self, digits: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """
        Args:
            digits: int16 (p, d).
            codes: int8 (n, d), C-contiguous both.

        Returns:
            int32 (p, n); sums must fit.
        """
        probes, (rows, dimension) = len(digits), codes.shape
        products = np.empty((probes, rows), np.int32)
        self._run(digits.ctypes.data, probes, codes.ctypes.data, rows, dimension, products.ctypes.data)
        return products
