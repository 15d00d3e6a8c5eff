"""A network of convolutions given layer by layer, whatever file it was read from, as an ONNX model for a free batch.

What readers give: formats/tflite.py and formats/onnx_layers.py.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from deploy.models.formats import BrokenFile
from deploy.models.networks.graph import Filters, Graph

#: Raise it when the same file comes to give other templates, by more than rounding.
REVISION = 1


@dataclass(frozen=True)
class Layer:
    """One step of a network.

    Attributes:
        output: name of the value that it gives.
        inputs: names of those that it takes: one, or two of one shape for a sum, or a value and a number a channel for a
            product.
        does: a convolution; or the slopes of a PReLU, (channels,); or one of ONNX's "Add", "Mul", "Relu", "Sigmoid" and
            "GlobalAveragePool".
    """

    output: str
    inputs: tuple[str, ...]
    does: Filters | np.ndarray | str


@dataclass(frozen=True)
class Layers:
    """A network whose last layer is a convolution that leaves one place.

    Attributes:
        source: name of the value that is the picture, of three channels.
        side: of the picture, pixels.
    """

    source: str
    side: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class _Value:
    """What a layer gives: its name in the graph, its channels, rows and columns; and whether the graph has it with another
    sign in each channel, see Graph.signed_prelu.
    """

    name: str
    channels: int
    rows: int
    columns: int
    signs: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.rows, self.columns

    def undone(self, filters: Filters) -> Filters:
        """A convolution of this value as one of what the graph has."""
        if self.signs is None:
            return filters
        signs = self.signs.reshape(-1, 1, 1, 1) if filters.depthwise else self.signs.reshape(1, -1, 1, 1)
        return replace(filters, kernel=filters.kernel * signs)


def build(network: Layers, name: str, classes: bool = False) -> onnx.ModelProto:
    """The network.

    Args:
        classes: whether what it gives are the logits of classes.

    Returns:
        A model that takes `pixels`, float32 (n, side, side, 3), in the order and range that the file's network wants, and
        gives `template`, float32 (n, dimension), or the classes' `probabilities`, float32 (n, classes).

    Raises:
        BrokenFile: the layers do not fit each other.
    """
    layers = _merged(network.layers)
    graph = _LayerGraph(network, layers)
    for layer in layers[:-1]:
        graph.add(layer)
    return graph.end(layers[-1] if layers else None, name, classes)


def _merged(layers: Sequence[Layer]) -> list[Layer]:
    """With one convolution of one pixel for two that follow each other, where that takes fewer products."""
    uses = Counter(name for layer in layers for name in layer.inputs)
    result: list[Layer] = []
    for layer in layers:
        before = result[-1] if result else None
        if before and layer.inputs == (before.output,) and uses[before.output] == 1:
            both = _product(before.does, layer.does)
            if both:
                result[-1] = Layer(layer.output, before.inputs, both)
                continue
        result.append(layer)
    return result


def _product(first: object, second: object) -> Filters | None:
    """The convolution that does what these two do; None where there is none that is cheaper."""
    if not isinstance(first, Filters) or not isinstance(second, Filters) or not (_mixes(first) and _mixes(second)):
        return None
    one, two = first.kernel[:, :, 0, 0], second.kernel[:, :, 0, 0]
    if two.shape[1] != len(one) or len(two) * one.shape[1] >= one.size + two.size:
        return None
    return Filters((two @ one)[:, :, None, None], two @ first.bias + second.bias)


def _mixes(filters: Filters) -> bool:
    """Whether it only mixes channels, each place for itself."""
    plain = filters.stride == (1, 1) and not any(filters.pads) and not filters.depthwise
    return plain and filters.kernel.shape[2:] == (1, 1) and filters.bias.shape == filters.kernel.shape[:1]


class _LayerGraph:
    """Adds layer after layer to a graph."""

    def __init__(self, network: Layers, layers: Sequence[Layer]) -> None:
        #: Of these the sign may not be changed: what takes them could not undo it.
        self._kept = {name for layer in layers if not isinstance(layer.does, Filters) for name in layer.inputs}
        self._source = network.source
        self._graph = Graph("pixels", network.side, network.side)
        self._values = {network.source: _Value("", 3, network.side, network.side)}

    def add(self, layer: Layer) -> None:
        values = [self._value(name) for name in layer.inputs]
        match (layer.does, *values):
            case (Filters() as filters, _Value() as value):
                result = self._convolved(layer.inputs[0], value, filters)
            case (np.ndarray() as slopes, _Value(name=name, channels=channels) as value) if name:
                _require(slopes.shape == (channels,), "a PReLU does not fit its input")
                result = self._rectified(value, slopes, layer.output)
            case (str() as operator, *_) if all(value.name for value in values):
                result = self._operated(operator, values)
            case _:
                raise BrokenFile(f"the network cannot be built: {layer.output} is made in a way that is not known")
        self._values[layer.output] = result

    def _operated(self, operator: str, values: Sequence[_Value]) -> _Value:
        """What an operator without weights gives."""
        counts = {"Add": 2, "Mul": 2, "Relu": 1, "Sigmoid": 1, "GlobalAveragePool": 1}
        _require(counts.get(operator) == len(values), f"{operator} of {len(values)} values is not known")
        first, last = values[0], values[-1]
        if operator == "Add":
            _require(first.shape == last.shape, "a sum is of unlike values")
        if operator == "Mul":
            _require(last.shape == (first.channels, 1, 1), "a product is not with one number a channel")
        name = self._graph.add(operator, *(value.name for value in values))
        return _Value(name, first.channels, 1, 1) if operator == "GlobalAveragePool" else replace(first, name=name)

    def end(self, last: Layer | None, name: str, classes: bool) -> onnx.ModelProto:
        """The last layer, as a product with a matrix, and the model."""
        if last is None or not isinstance(last.does, Filters) or len(last.inputs) != 1:
            raise BrokenFile("the network cannot be built: its last layer is no convolution")
        value, kernel = self._value(last.inputs[0]), last.does.kernel
        fits = kernel.shape[1:] == value.shape
        _require(bool(value.name) and fits and not last.does.depthwise, "its last layer does not leave one place")
        matrix = kernel.reshape(*kernel.shape[:2], -1).transpose(1, 2, 0)
        if value.signs is not None:
            matrix = matrix * value.signs[:, None, None]
        if not classes:
            self._graph.dense(value.name, matrix, last.does.bias, output="template")
            return self._graph.model(name, {"template": ("n", len(kernel))})
        logits = self._graph.dense(value.name, matrix, last.does.bias)
        self._graph.add("Softmax", logits, output="probabilities", axis=1)
        return self._graph.model(name, {"probabilities": ("n", len(kernel))})

    def _convolved(self, source: str, value: _Value, filters: Filters) -> _Value:
        count, channels, height, width = filters.kernel.shape
        _require(filters.bias.shape == (count,), "a bias does not fit its convolution")
        expected = 1 if filters.depthwise else value.channels
        _require(channels == expected, "a convolution does not fit its input")
        _require(not filters.depthwise or count == value.channels, "a depthwise convolution does not fit its input")
        top, left, bottom, right = filters.pads
        _require(min(filters.stride) > 0, "a stride is not positive")
        _require(min(filters.pads) >= 0 and max(filters.pads) < max(height, width), "there is more padding than window")
        rows = (value.rows + top + bottom - height) // filters.stride[0] + 1
        columns = (value.columns + left + right - width) // filters.stride[1] + 1
        _require(rows > 0 and columns > 0, "a window is larger than its input")
        if source == self._source:
            _require(not filters.depthwise, "the first layer is depthwise")
            return _Value(self._graph.convolve_pixels(filters), count, rows, columns)
        return _Value(self._graph.convolve(value.name, value.undone(filters)), count, rows, columns)

    def _rectified(self, value: _Value, slopes: np.ndarray, output: str) -> _Value:
        if output in self._kept:
            return replace(value, name=self._graph.prelu(value.name, slopes))
        name, signs = self._graph.signed_prelu(value.name, slopes)
        return replace(value, name=name, signs=signs)

    def _value(self, name: str) -> _Value:
        value = self._values.get(name)
        if value is None:
            raise BrokenFile(f"the network cannot be built: nothing gives {name!r}")
        return value


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise BrokenFile(f"the network cannot be built: {complaint}")
