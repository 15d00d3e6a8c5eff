"""ONNX graphs laid out for ONNX Runtime's own layout on CPUs, NCHWc: 8 or 16 channels side by side.

It keeps that layout, and its fast depthwise convolution, as long as nodes know it (convolutions, pooling, ReLU, sums of
like shapes) and, beyond convolutions, channels fill blocks. Elsewhere it converts back and forth, which takes as long.
So channels are filled up here, and PReLU, which does not know it, is made of convolutions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.models.formats import BrokenFile

OPSET = 17
IR_VERSION = 8
#: Channels are filled up with zeros to a multiple of this.
BLOCK = 16
#: Unless that adds more than this share: computing with the zeros then takes longer than converting.
MOST_ZEROS = 1 / 3


@dataclass(frozen=True)
class Filters:
    """A convolution.

    Attributes:
        kernel: (filters, channels, height, width); depthwise (channels, 1, height, width).
        bias: (filters,).
        stride: rows, columns.
        pads: zeros around the picture: top, left, bottom, right.
        depthwise: each filter sees the channel of its own number alone.
    """

    kernel: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    depthwise: bool = False


class Graph:
    """A network in the making. Its input is float32 (n, height, width, 3), BGR; all after it is (n, channels, …).

    Values go by their names. A value's channels may be more than its layer has filters: those beyond them are zero.
    """

    def __init__(self, pixels: str, height: int | str, width: int | str) -> None:
        """
        Args:
            pixels: name of the input.
            height, width: of the input; a name where any size fits, n being 1 at least then.
        """
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._row = -1 if isinstance(width, str) else 3 * width  # numbers; -1 is what is left, if any
        self._input = helper.make_tensor_value_info(pixels, TensorProto.FLOAT, ["n", height, width, 3])

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: int | str | Sequence[int]) -> str:
        """Adds a node of one output; returns the output's name."""
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        node = helper.make_node(operator, inputs, [output])
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(node)
        return output

    def constant(self, values: np.ndarray, dtype: type[np.generic] = np.float32) -> str:
        """Adds numbers.

        Raises:
            BrokenFile: one is not finite.
        """
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(values, dtype)
        if not np.isfinite(array).all():
            raise BrokenFile("a weight is no number, or too large a one")
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def convolve_pixels(self, filters: Filters) -> str:
        """A convolution of the input.

        Takes pixels as they lie in memory, for a picture of one channel that is three times as wide: transposing it takes
        longer than that changes.
        """
        (top, left, bottom, right), (rows, columns) = filters.pads, filters.stride
        kernel = filters.kernel.transpose(0, 2, 3, 1)
        kernel = kernel.reshape(*kernel.shape[:2], -1)[:, None]
        one = self.add("Unsqueeze", self._input.name, self.constant(np.array([1]), np.int64))
        wide = self.add("Reshape", one, self.constant(np.array([0, 0, 0, self._row]), np.int64))
        pads = (top, 3 * left, bottom, 3 * right)
        return self.convolve(wide, replace(filters, kernel=kernel, stride=(rows, 3 * columns), pads=pads))

    def convolve(self, x: str, filters: Filters) -> str:
        """A convolution."""
        kernel = filled(filters.kernel, 0) if filters.depthwise else filled(filters.kernel, 0, 1)
        inputs = x, self.constant(kernel), self.constant(filled(filters.bias, 0))
        group = len(kernel) if filters.depthwise else 1
        return self.add("Conv", *inputs, strides=filters.stride, pads=filters.pads, group=group)

    def prelu(self, x: str, slopes: np.ndarray) -> str:
        """PReLU with a slope a channel, as slope * x + (1 - slope) * relu(x).

        ONNX Runtime's PRelu takes longer than all convolutions together, while these products, as depthwise convolutions
        of one pixel, stay in the convolutions' layout, and the sum is part of one of them. So is relu((1 - slope) * x),
        which is the same where no slope is above 1.
        """
        if slopes.max() <= 1:
            return self.signed_prelu(x, slopes)[0]
        return self.add("Add", self.scale(x, slopes), self.scale(self.add("Relu", x), 1 - slopes))

    def signed_prelu(self, x: str, slopes: np.ndarray) -> tuple[str, np.ndarray]:
        """PReLU, negative where a slope is above 1: as quick then as where none is. Returns its name and the signs, 1 or
        -1 a channel, which what follows has to undo.
        """
        signs = np.where(slopes > 1, -1.0, 1.0)
        rectified = self.add("Relu", self.scale(x, abs(1 - slopes)))
        return self.add("Add", self.scale(x, signs * slopes), rectified), signs

    def scale(self, x: str, factors: np.ndarray) -> str:
        """Each channel times a factor."""
        return self.convolve(x, Filters(factors.reshape(-1, 1, 1, 1), np.zeros(len(factors)), depthwise=True))

    def dense(self, x: str, matrix: np.ndarray, bias: np.ndarray | None = None, output: str = "") -> str:
        """A linear map.

        Args:
            matrix: (features, outputs); for a convolution's result (channels, places, outputs), places row by row.
            bias: (outputs,); None is zero.
        """
        if matrix.ndim == 3:
            x, matrix = self.add("Flatten", x), filled(matrix, 0).reshape(-1, matrix.shape[2])
        inputs = [x, self.constant(matrix)]
        if bias is not None:
            inputs.append(self.constant(bias))
        return self.add("Gemm", *inputs, output=output)

    def model(self, name: str, outputs: Mapping[str, Sequence[int | str]]) -> onnx.ModelProto:
        """The finished network.

        Args:
            outputs: shapes of the outputs, by their names.
        """
        results = [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, name, [self._input], results, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="reco")
        onnx.checker.check_model(model)
        return model


def filled(weights: np.ndarray, *axes: int) -> np.ndarray:
    """With zeros at the end of these axes, up to whole blocks of channels where that pays."""
    return np.pad(weights, [(0, _missing(size) if axis in axes else 0) for axis, size in enumerate(weights.shape)])


def _missing(channels: int) -> int:
    missing = -channels % BLOCK
    return missing if missing <= channels * MOST_ZEROS else 0
