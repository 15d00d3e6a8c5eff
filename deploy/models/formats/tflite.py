"""Reads networks of convolutions, PReLU and sums from TensorFlow Lite's `.tflite` files.

Such a file is a flatbuffer: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema.
Its values are (batch, rows, columns, channels); the batch, which a file may fix, is left out here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from tflite import BuiltinOperator as Op

from deploy.models.formats import BrokenFile
from deploy.models.networks.graph import Filters
from deploy.models.networks.layers import Layer, Layers

IDENTIFIER = b"TFL3"
#: What reading a flatbuffer raises that is damaged.
UNREADABLE = (struct.error, LookupError, TypeError, ValueError, AttributeError, OverflowError)
#: Operators, and values, that no such network exceeds.
MOST = 2000


@dataclass(frozen=True)
class _Operator:
    """One operator as it stands in the file.

    Attributes:
        inputs: numbers of values; negative where one is left out.
        options: the flatbuffer table of its options; None where it has none.
    """

    kind: int
    inputs: tuple[int, ...]
    output: int
    options: Any


def read_layers(data: bytes) -> Layers:
    """The network in a file.

    TensorFlow writes PReLU as relu(x) + a · (x - |x|); it is one layer here, of slope 2a.

    Args:
        data: the whole file.

    Returns:
        Its layers. Kernels and slopes are float64.

    Raises:
        BrokenFile: it is no such file, is damaged, or holds something else than such a network.
    """
    if data[4:8] != IDENTIFIER:
        raise BrokenFile("not a .tflite file")
    try:
        return _read(_File(data))
    except UNREADABLE as error:
        raise BrokenFile(f"its flatbuffer cannot be read: {error}") from error


def _read(file: "_File") -> Layers:
    _, rows, columns, channels = file.shape(file.source)
    if rows != columns or channels != 3:
        raise BrokenFile("its input is no square picture of three channels")
    operators = list(file.operators())
    if operators and operators[-1].kind == Op.RESHAPE:  # only takes the last two sizes, of 1, away
        operators.pop()
    layers, at = [], 0
    while at < len(operators):
        layer, count = _layer(file, operators[at:])
        layers.append(layer)
        at += count
    return Layers(str(file.source), rows, tuple(layers))


def _layer(file: "_File", operators: list[_Operator]) -> tuple[Layer, int]:
    """The first layer of these operators, and how many of them it takes."""
    first = operators[0]
    if first.kind in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D) and len(first.inputs) == 3:
        return Layer(str(first.output), (str(first.inputs[0]),), _filters(file, first)), 1
    if first.kind == Op.RELU:
        return _prelu(file, operators[:5]), 5
    if first.kind == Op.ADD and len(first.inputs) == 2:
        return Layer(str(first.output), (str(first.inputs[0]), str(first.inputs[1])), "Add"), 1
    raise BrokenFile(f"it has an operator {first.kind} that is not known here")


def _prelu(file: "_File", operators: list[_Operator]) -> Layer:
    kinds = [operator.kind for operator in operators]
    if kinds != [Op.RELU, Op.ABS, Op.SUB, Op.MUL, Op.ADD]:
        raise BrokenFile("a ReLU is not part of a PReLU")
    relu, magnitude, difference, product, total = operators
    x = relu.inputs[0]
    constant, other = product.inputs
    fits = (
        magnitude.inputs == (x,)
        and difference.inputs == (x, magnitude.output)
        and other == difference.output
        and total.inputs == (relu.output, product.output)
    )
    if not fits:
        raise BrokenFile("a ReLU is not part of a PReLU")
    return Layer(str(total.output), (str(x),), 2 * file.values(constant).ravel())


def _filters(file: "_File", operator: _Operator) -> Filters:
    depthwise = operator.kind == Op.DEPTHWISE_CONV_2D
    options = tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions()
    options.Init(operator.options.Bytes, operator.options.Pos)
    stride = options.StrideH(), options.StrideW()
    plain = options.FusedActivationFunction() == tflite.ActivationFunctionType.NONE and min(stride) > 0
    if not plain or options.DilationHFactor() != 1 or options.DilationWFactor() != 1:
        raise BrokenFile("a convolution is dilated, has an activation of its own or goes nowhere")
    kernel = file.values(operator.inputs[1])
    kernel = kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2)
    pads = (0, 0, 0, 0)
    if options.Padding() == tflite.Padding.SAME:
        _, rows, columns, _ = file.shape(operator.inputs[0])
        top, bottom = _same(rows, kernel.shape[2], stride[0])
        left, right = _same(columns, kernel.shape[3], stride[1])
        pads = (top, left, bottom, right)
    return Filters(kernel, file.values(operator.inputs[2]), stride, pads, depthwise)


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, of TensorFlow's padding SAME: an odd one comes after."""
    missing = max((-(-size // stride) - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2


class _File:
    """A file's only graph: its operators, and its values by their numbers."""

    def __init__(self, data: bytes) -> None:
        self._model = tflite.Model.GetRootAs(data, 0)
        if self._model.SubgraphsLength() != 1:
            raise BrokenFile("it holds not one network")
        self._graph = self._model.Subgraphs(0)
        if max(self._graph.OperatorsLength(), self._graph.TensorsLength()) > MOST:
            raise BrokenFile("it holds more than such a network has")
        self.source = int(self._graph.Inputs(0))

    def operators(self) -> Iterator[_Operator]:
        """In the order in which they are run."""
        for number in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(number)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # files before 2020 have the second alone
            inputs = tuple(int(operator.Inputs(at)) for at in range(min(operator.InputsLength(), MOST)))
            yield _Operator(kind, inputs, int(operator.Outputs(0)), operator.BuiltinOptions())

    def shape(self, number: int) -> tuple[int, int, int, int]:
        """Batch, rows, columns, channels of a value."""
        batch, rows, columns, channels = (int(size) for size in self._graph.Tensors(number).ShapeAsNumpy())
        return batch, rows, columns, channels

    def values(self, number: int) -> np.ndarray:
        """Of a value that is part of the file: float64, in its shape."""
        tensor = self._graph.Tensors(number)
        if tensor.Type() != tflite.TensorType.FLOAT32:
            raise BrokenFile("its weights are not float32")
        data = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        with np.errstate(invalid="ignore"):  # what is no number is refused when the network is built
            return np.frombuffer(data.tobytes(), "<f4").reshape(tensor.ShapeAsNumpy()).astype(np.float64)
