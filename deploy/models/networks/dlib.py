"""dlib's ResNet for faces as an ONNX model.

Affine layers, and the input's (pixel - mean) / 256 and channel order, are part of the convolutions: exact but for
rounding, since the first convolution has no padding.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from deploy.models.formats import BrokenFile
from deploy.models.formats.dlib_dat import AddSkipped, Affine, Convolution, Dense, Layer, Network, Pooling, Relu
from deploy.models.networks.graph import Filters, Graph

#: Raise it when the same file comes to give other templates, by more than rounding.
REVISION = 2
#: Channels, and rows or columns, that no value of such a network exceeds.
MOST = 4096


def build(network: Network) -> onnx.ModelProto:
    """The network, which gives what dlib's `face_recognition_model_v1.compute_face_descriptor` does for an RGB chip.

    Returns:
        A model that takes `pixels`, float32 (n, rows, columns, 3), BGR, 0 to 255, and gives `template`, float32 (n, 128).

    Raises:
        BrokenFile: the layers do not fit each other, or are of kinds that are not known here.
    """
    layers, rest = _DlibGraph(network), network.layers
    while rest:
        rest = rest[layers.add(rest) :]
    return layers.model()


@dataclass(frozen=True)
class _Value:
    """What a layer gives: its name in the graph, and (channels, rows, columns)."""

    name: str
    shape: tuple[int, int, int]


class _DlibGraph:
    """Adds layer after layer to a graph."""

    def __init__(self, network: Network) -> None:
        self._mean = network.mean
        self._graph = Graph("pixels", *network.size)
        self._value = _Value("", (3, *network.size))
        self._block: _Value | None = None  # the input of the residual block
        self._dimension = 0

    def model(self) -> onnx.ModelProto:
        _require(self._dimension > 0, "the last layer is not the dense one")
        return self._graph.model("dlib_face_recognition_resnet_v1", {"template": ("n", self._dimension)})

    def add(self, layers: tuple[Layer, ...]) -> int:
        """Adds the first of the layers, as many as belong together; returns how many."""
        match layers:
            case (Convolution() as convolution, Affine() as affine, Relu(), *_):
                self._value = self._relu(self._convolve(convolution, affine))
                return 3
            case (Convolution() as convolution, Affine() as affine, AddSkipped(), Relu(), *_) if self._block:
                self._end_block(self._convolve(convolution, affine), self._block)
                return 4
            case (Convolution() as convolution, Affine() as affine, Pooling() as pooling, AddSkipped(), Relu(), *_) if (
                self._block
            ):
                self._end_block(self._convolve(convolution, affine), self._pool(pooling, self._block))
                return 5
            case (Pooling() as pooling, *_) if self._value.name:
                self._value = self._block = self._pool(pooling, self._value)
                return 1
            case (Dense() as dense,) if self._value.name:
                self._add_dense(dense)
                return 1
        kind, left = type(layers[0]).__name__.lower(), len(layers)
        raise BrokenFile(f"the dlib network cannot be built: {kind}, {left} layers before its end, does not fit")

    def _convolve(self, convolution: Convolution, affine: Affine) -> _Value:
        count, channels, height, width = convolution.weights.shape
        _require(len(affine.gamma) == count, "an affine layer does not fit its convolution")
        _require(channels == self._value.shape[0] and count <= MOST, "a convolution does not fit its input")
        (rows, columns), gamma = convolution.padding, affine.gamma.astype(np.float64)
        filters = Filters(
            convolution.weights * gamma[:, None, None, None],
            convolution.bias * gamma + affine.beta,
            convolution.stride,
            (rows, columns, rows, columns),
        )
        shape = (count, *_slide(self._value.shape, (height, width), convolution.stride, convolution.padding))
        if self._value.name:
            return _Value(self._graph.convolve(self._value.name, filters), shape)
        _require(convolution.padding == (0, 0), "the first layer has padding")
        return _Value(self._graph.convolve_pixels(_of_pixels(filters, self._mean)), shape)

    def _pool(self, pooling: Pooling, value: _Value) -> _Value:
        window = pooling.window if pooling.window != (0, 0) else value.shape[1:]
        shape = (value.shape[0], *_slide(value.shape, window, pooling.stride, pooling.padding))
        operator = "MaxPool" if pooling.kind == "max" else "AveragePool"
        return _Value(self._graph.add(operator, value.name, kernel_shape=window, strides=pooling.stride), shape)

    def _end_block(self, result: _Value, summand: _Value) -> None:
        channels, rows, columns = (max(pair) for pair in zip(result.shape, summand.shape, strict=True))
        shape = channels, rows, columns
        total = self._graph.add("Add", self._widened(result, shape), self._widened(summand, shape))
        self._value = self._block = self._relu(_Value(total, shape))

    def _widened(self, value: _Value, shape: tuple[int, int, int]) -> str:
        """The value with zeros at its bottom, right and last channels, as dlib adds what is smaller.

        By a convolution of one pixel: ONNX Runtime then keeps its own layout, and adds within its convolutions, which its
        Pad would break up.
        """
        channels, rows, columns = (whole - part for whole, part in zip(shape, value.shape, strict=True))
        pads = (0, 0, rows, columns)
        if channels:
            copy = np.eye(shape[0], value.shape[0])[:, :, None, None]
            return self._graph.convolve(value.name, Filters(copy, np.zeros(shape[0]), pads=pads))
        if rows or columns:
            copy = np.ones((shape[0], 1, 1, 1))
            return self._graph.convolve(value.name, Filters(copy, np.zeros(shape[0]), pads=pads, depthwise=True))
        return value.name

    def _relu(self, value: _Value) -> _Value:
        return _Value(self._graph.add("Relu", value.name), value.shape)

    def _add_dense(self, dense: Dense) -> None:
        channels, rows, columns = self._value.shape
        features, self._dimension = dense.weights.shape
        _require(features == channels * rows * columns, "the dense layer does not fit its input")
        matrix = dense.weights.reshape(channels, rows * columns, self._dimension)
        self._graph.dense(self._value.name, matrix, output="template")


def _of_pixels(filters: Filters, mean: tuple[float, float, float]) -> Filters:
    """Makes a convolution over (rgb - mean) / 256 into one over BGR pixels."""
    kernel = filters.kernel / 256
    bias = filters.bias - np.einsum("fcyx,c->f", kernel, np.asarray(mean))
    return Filters(kernel[:, ::-1], bias, filters.stride)


def _slide(
    shape: tuple[int, int, int], window: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int]:
    """Rows and columns of what a window gives that slides over a value."""
    sizes = zip(shape[1:], window, stride, padding, strict=True)
    rows, columns = ((size + 2 * pad - width) // step + 1 for size, width, step, pad in sizes)
    _require(0 < rows <= MOST and 0 < columns <= MOST, "a window is larger than its input")
    return rows, columns


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise BrokenFile(f"the dlib network cannot be built: {complaint}")
