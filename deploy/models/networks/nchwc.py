"""Networks laid out for ONNX Runtime's own layout on CPUs, NCHWc: 8 or 16 channels side by side.

It keeps that layout, and its fast depthwise convolution, as long as nodes know it (convolutions, pooling, ReLU, sums of
like shapes) and, beyond convolutions, channels fill blocks. Elsewhere it converts back and forth, which takes as long.
"""

import numpy as np

#: Channels are filled up with zeros to a multiple of this.
BLOCK = 16
#: Unless that adds more than this share: computing with the zeros then takes longer than converting.
MOST_ZEROS = 1 / 3


def filled(weights: np.ndarray, *axes: int) -> np.ndarray:
    """With zeros at the end of these axes, up to whole blocks of channels where that pays."""
    return np.pad(weights, [(0, _missing(size) if axis in axes else 0) for axis, size in enumerate(weights.shape)])


def _missing(channels: int) -> int:
    missing = -channels % BLOCK
    return missing if missing <= channels * MOST_ZEROS else 0
