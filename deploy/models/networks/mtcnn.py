"""MTCNN's three networks as ONNX models, built from the arrays of the PyPI package `mtcnn` 1.0.0.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016
(arXiv 1604.02878). Convolutions are valid and have stride 1; after each, and after the dense layer, comes a PReLU with a
slope a channel.
"""

from collections.abc import Sequence

import numpy as np
import onnx

from deploy.models.networks.graph import BLOCK, Filters, Graph

#: Numbers of an output for a window.
SIZES = {"regression": 4, "landmarks": 10, "probability": 2}


def build(name: str, weights: Sequence[np.ndarray]) -> onnx.ModelProto:
    """One of the networks.

    Args:
        name: "pnet", "rnet" or "onet".
        weights: see formats/mtcnn_joblib.py.

    Returns:
        A model that takes `image`, float32 (n, height, width, 3), BGR, 0 to 255, of 24 × 24 pixels for R-Net, 48 × 48 for
        O-Net and 12 × 12 at least for P-Net. It gives for a window `regression` (n, 4: left, top, right, bottom, in
        fractions of the window), `landmarks` (n, 10: five x, then five y; O-Net alone) and `probability` (n, 2: no face,
        face). P-Net gives `maps` (n, 6, rows, columns) instead: for every place the logits of no face and face, and the
        regression.
    """
    return {"pnet": _pnet, "rnet": _rnet, "onet": _onet}[name](weights)


def _pnet(weights: Sequence[np.ndarray]) -> onnx.ModelProto:
    layers = _MtcnnGraph(weights, "height", "width")
    layers.convolve(pool=2, same=True)
    layers.convolve()
    layers.convolve_to_maps()
    return layers.graph.model("mtcnn_pnet", {"maps": ("n", 6, "rows", "columns")})


def _rnet(weights: Sequence[np.ndarray]) -> onnx.ModelProto:
    layers = _MtcnnGraph(weights, 24, 24)
    layers.convolve(pool=3, same=True)
    layers.convolve(pool=3)
    layers.convolve()
    return layers.end("mtcnn_rnet", "regression", "probability")


def _onet(weights: Sequence[np.ndarray]) -> onnx.ModelProto:
    layers = _MtcnnGraph(weights, 48, 48)
    layers.convolve(pool=3, same=True)
    layers.convolve(pool=3)
    layers.convolve(pool=2, same=True)
    layers.convolve()
    return layers.end("mtcnn_onet", "regression", "landmarks", "probability")


class _MtcnnGraph:
    """Adds layer after layer to a graph, taking each one's arrays from the front of `weights`."""

    def __init__(self, weights: Sequence[np.ndarray], height: int | str, width: int | str) -> None:
        self.graph = Graph("image", height, width)
        self._weights = iter(weights)
        self._value = ""
        self._signs = np.ones(3)  # by which the last value's channels, or the image's, are multiplied

    def convolve(self, pool: int = 0, same: bool = False) -> None:
        """Convolution, PReLU and, where `pool` is not 0, max pooling of windows of that side with stride 2, which may
        reach beyond the right and the bottom where `same`.
        """
        filters, slopes = self._take_convolution()
        if pool and len(slopes) + np.count_nonzero(slopes < 0) <= BLOCK:
            self._convolve_and_pool(filters, slopes, pool, same)
            return
        self._value = self.graph.prelu(self._convolve(filters), slopes)
        if pool:
            self._value = self._pooled(self._value, pool, same)

    def convolve_to_maps(self) -> None:
        """P-Net's end: convolution, PReLU, and of that the logits and the regression at every place.

        PReLU is slope * x + (1 - slope) * relu(x) here as well; the factors are part of the last convolutions.
        """
        filters, slopes = self._take_convolution()
        regression, logits = self._take_filters(), self._take_filters()
        kernel = np.concatenate([logits.kernel, regression.kernel])
        bias = np.concatenate([logits.bias, regression.bias])
        x = self._convolve(filters)
        linear = self.graph.convolve(x, _of_scaled(Filters(kernel, bias), slopes))
        rectified = self.graph.convolve(self.graph.add("Relu", x), _of_scaled(Filters(kernel, 0 * bias), 1 - slopes))
        self.graph.add("Add", linear, rectified, output="maps")

    def end(self, name: str, *outputs: str) -> onnx.ModelProto:
        """A dense layer, and of its result the outputs: linear, and softmax where it is the probability."""
        matrix, bias, slopes = (next(self._weights) for _ in range(3))
        features = self.graph.dense(self._value, self._channels_first(matrix), bias)
        features = self.graph.add("PRelu", features, self.graph.constant(slopes))
        for output in outputs:
            matrix, bias = next(self._weights), next(self._weights)
            if output == "probability":
                self.graph.add("Softmax", self.graph.dense(features, matrix, bias), output=output, axis=1)
            else:
                self.graph.dense(features, matrix, bias, output)
        return self.graph.model(name, {output: ("n", SIZES[output]) for output in outputs})

    def _take_convolution(self) -> tuple[Filters, np.ndarray]:
        """The next filters, and the slopes of the PReLU after them."""
        filters = _of_scaled(self._take_filters(), self._signs)
        slopes = next(self._weights).astype(np.float64).ravel()
        self._signs = np.ones(len(slopes))
        return filters, slopes

    def _take_filters(self) -> Filters:
        kernel, bias = (next(self._weights).astype(np.float64) for _ in range(2))
        return Filters(kernel.transpose(3, 2, 0, 1), bias)

    def _convolve(self, filters: Filters) -> str:
        if self._value:
            return self.graph.convolve(self._value, filters)
        return self.graph.convolve_pixels(_of_pixels(filters))

    def _convolve_and_pool(self, filters: Filters, slopes: np.ndarray, pool: int, same: bool) -> None:
        """Convolution, PReLU and max pooling, pooled first: PReLU then works on a quarter of the numbers.

        Where the slope is not negative PReLU keeps the order, and so may come after the pooling. Where it is, PReLU(x)
        is the larger of x and slope * x, whose maxima are those of x and, times -slope, of -x: these channels are
        pooled twice, which costs nothing as long as a block of channels holds them all. The larger of p and q is
        p + relu(q - p), so that all is `linear` + relu(`rectified`). Where a slope is above 1 that is PReLU's negative.
        """
        falling = np.flatnonzero(slopes < 0)
        kernel = np.concatenate([filters.kernel, -filters.kernel[falling]])
        bias = np.concatenate([filters.bias, -filters.bias[falling]])
        pooled = self._pooled(self._convolve(Filters(kernel, bias)), pool, same)
        self._signs = np.where(slopes > 1, -1.0, 1.0)
        mirrored = np.zeros((len(slopes), len(falling)))
        mirrored[falling, np.arange(len(falling))] = -slopes[falling]
        linear = np.hstack([np.diag(self._signs * slopes.clip(0)), mirrored])
        rectified = np.hstack([np.diag(abs(1 - slopes.clip(0))), -mirrored])
        above = self.graph.add("Relu", self._mixed(pooled, rectified))
        self._value = self.graph.add("Add", self._mixed(pooled, linear), above)

    def _mixed(self, x: str, matrix: np.ndarray) -> str:
        """At every place the channels times a matrix (filters, channels)."""
        return self.graph.convolve(x, Filters(matrix[:, :, None, None], np.zeros(len(matrix))))

    def _pooled(self, x: str, side: int, same: bool) -> str:
        padding = "SAME_UPPER" if same else "VALID"
        return self.graph.add("MaxPool", x, kernel_shape=[side, side], strides=[2, 2], auto_pad=padding)

    def _channels_first(self, matrix: np.ndarray) -> np.ndarray:
        """Makes a matrix for features flattened as (width, height, channels) one of (channels, height * width, outputs),
        for the channels' signs.
        """
        channels = len(self._signs)
        side = round((len(matrix) / channels) ** 0.5)
        rows = matrix.reshape(side, side, channels, -1) * self._signs[:, None]
        return rows.transpose(2, 1, 0, 3).reshape(channels, side * side, -1)


def _of_scaled(filters: Filters, factors: np.ndarray) -> Filters:
    """Makes of a convolution one that gives the same for x as that does for x with its channels times these factors."""
    return Filters(filters.kernel * factors[:, None, None], filters.bias)


def _of_pixels(filters: Filters) -> Filters:
    """Makes a convolution over RGB values (v - 127.5) / 128 into one over BGR values v; exact, as nothing is padded."""
    kernel = filters.kernel[:, ::-1] / 128
    return Filters(kernel, filters.bias - 127.5 * kernel.sum(axis=(1, 2, 3)))
