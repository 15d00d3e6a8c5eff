"""MiniFASNetV2 and MiniFASNetV1SE as ONNX models, built from their tensors alone.

Both are MobileFaceNets with other widths (Silent-Face-Anti-Spoofing, src/model_lib/MiniFASNet.py, Apache-2.0): a
convolution, a depthwise one, three stages that halve the picture, each with residual blocks after it, and a linear
head. Which blocks there are, how wide they are and which end in squeeze-and-excitation, the tensors' names and shapes
tell; what they do not tell (strides, paddings, the batch norms' epsilon) is written here.
"""

import itertools
from collections.abc import Mapping

import numpy as np
import onnx

from deploy.models.formats import BrokenFile
from deploy.models.networks.graph import Filters, Graph

SIDE = 80
CLASSES = 3
#: PyTorch's default, which the networks were trained with.
EPSILON = 1e-5
#: Blocks that halve the picture, each followed by its residual blocks.
STAGES = (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5"))


def build(state: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The network.

    Args:
        state: the state dict; names may begin with "module.".

    Returns:
        A model that takes `pixels`, float32 (n, 80, 80, 3), BGR, 0 to 255, and gives `probabilities` of the classes print,
        real, replay, float32 (n, 3).

    Raises:
        BrokenFile: a tensor is missing, has another shape, or holds what cannot be computed with.
    """
    tensors = _Tensors({name.removeprefix("module."): tensor for name, tensor in state.items()})
    layers = _MiniFasGraph(tensors)
    layers.begin()
    for halving, residual in STAGES:
        layers.add_block(halving, stride=2)
        for name in tensors.blocks_of(residual):
            layers.add_block(name)
    return layers.end()


class _Tensors:
    """The tensors as layers. Batch norms are part of the convolutions before them."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors

    def blocks_of(self, name: str) -> list[str]:
        """`name.model.0`, `name.model.1`, … as many as there are."""
        names = (f"{name}.model.{number}" for number in itertools.count())
        return list(itertools.takewhile(self._has, names))

    def squeezes(self, block: str) -> bool:
        """Whether the block ends in squeeze-and-excitation."""
        return self._has(f"{block}.se_module")

    def filters(self, name: str, channels: int, side: int = 1, stride: int = 1, pad: int = 0) -> Filters:
        """A convolution and its batch norm."""
        return self._filters(f"{name}.conv", f"{name}.bn", (channels, side, side), stride, pad)

    def depthwise(self, name: str, channels: int, side: int, stride: int = 1, pad: int = 0) -> Filters:
        """A depthwise convolution and its batch norm."""
        filters = self._filters(f"{name}.conv", f"{name}.bn", (1, side, side), stride, pad)
        _require(len(filters.kernel) == channels, f"{name} is of another shape")
        return Filters(filters.kernel, filters.bias, filters.stride, filters.pads, depthwise=True)

    def squeeze(self, block: str, channels: int) -> tuple[Filters, Filters]:
        """The two dense layers of squeeze-and-excitation and their batch norms, as convolutions."""
        name = f"{block}.se_module"
        first = self._filters(f"{name}.fc1", f"{name}.bn1", (channels, 1, 1))
        second = self._filters(f"{name}.fc2", f"{name}.bn2", (len(first.kernel), 1, 1))
        _require(len(second.kernel) == channels, f"{name} is of another shape")
        return first, second

    def slopes(self, name: str, filters: Filters) -> np.ndarray:
        """Those of the PReLU after a convolution."""
        return self._tensor(f"{name}.prelu.weight", len(filters.kernel))

    def head(self, features: int) -> tuple[np.ndarray, np.ndarray]:
        """Matrix (features, 1, classes) and bias: the linear layer, its batch norm and the classifier are linear."""
        hidden = len(self._any("linear.weight"))
        scale, shift = self._norm("bn", hidden)
        linear = self._tensor("linear.weight", hidden, features) * scale[:, None]
        classes = self._tensor("prob.weight", CLASSES, hidden)
        return (classes @ linear).T[:, None], classes @ shift

    def _has(self, part: str) -> bool:
        """Whether any tensor belongs to that part of the network."""
        return any(name.startswith(f"{part}.") for name in self._tensors)

    def _filters(self, name: str, norm: str, shape: tuple[int, int, int], stride: int = 1, pad: int = 0) -> Filters:
        count = len(self._any(f"{name}.weight"))
        kernel = self._tensor(f"{name}.weight", count, *shape)
        scale, shift = self._norm(norm, count)
        return Filters(kernel * scale[:, None, None, None], shift, (stride, stride), (pad, pad, pad, pad))

    def _norm(self, name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """A trained batch norm as y = scale * x + shift."""
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gain, bias = (self._tensor(f"{name}.{part}", channels) for part in parts)
        _require(variance.min() >= 0, f"{name}: a variance is below zero")
        scale = gain / np.sqrt(variance + EPSILON)
        return scale, bias - mean * scale

    def _tensor(self, name: str, *shape: int) -> np.ndarray:
        """float64, for exact products."""
        tensor = self._any(name).astype(np.float64)
        fits = tensor.shape == shape and bool(np.isfinite(tensor).all())
        _require(fits, f"{name} is of another shape, or not finite")
        return tensor

    def _any(self, name: str) -> np.ndarray:
        tensor = self._tensors.get(name)
        if tensor is None or not tensor.size or not tensor.ndim:
            raise BrokenFile(f"there is no tensor {name}")
        return tensor


class _MiniFasGraph:
    """Adds layer after layer to a graph; knows the last value's name and channels."""

    def __init__(self, tensors: _Tensors) -> None:
        self._tensors = tensors
        self._graph = Graph("pixels", SIDE, SIDE)
        self._value, self._channels = "", 3

    def begin(self) -> None:
        """A convolution that halves the picture, and a depthwise one."""
        first = self._tensors.filters("conv1", 3, side=3, stride=2, pad=1)
        second = self._tensors.depthwise("conv2_dw", len(first.kernel), side=3, pad=1)
        x = self._graph.prelu(self._graph.convolve_pixels(first), self._tensors.slopes("conv1", first))
        self._value = self._rectified(x, second, "conv2_dw")
        self._channels = len(second.kernel)

    def add_block(self, name: str, stride: int = 1) -> None:
        """Widens (1×1), filters each channel (3×3), narrows (1×1), weighs the channels where the block does that, and,
        where it does not halve the picture, adds its input.
        """
        wide = self._tensors.filters(f"{name}.conv", self._channels)
        deep = self._tensors.depthwise(f"{name}.conv_dw", len(wide.kernel), side=3, stride=stride, pad=1)
        narrow = self._tensors.filters(f"{name}.project", len(wide.kernel))
        x = self._rectified(self._value, wide, f"{name}.conv")
        x = self._rectified(x, deep, f"{name}.conv_dw")
        x = self._graph.convolve(x, narrow)
        if self._tensors.squeezes(name):
            x = self._weighed(x, *self._tensors.squeeze(name, len(narrow.kernel)))
        if stride == 1:
            _require(len(narrow.kernel) == self._channels, f"{name} is of another shape than its input")
            x = self._graph.add("Add", self._value, x)
        self._value, self._channels = x, len(narrow.kernel)

    def end(self) -> onnx.ModelProto:
        """The head: many channels, each filtered to one number, and what is linear in these."""
        wide = self._tensors.filters("conv_6_sep", self._channels)
        whole = self._tensors.depthwise("conv_6_dw", len(wide.kernel), side=SIDE // 16)
        x = self._graph.convolve(self._rectified(self._value, wide, "conv_6_sep"), whole)
        logits = self._graph.dense(x, *self._tensors.head(len(whole.kernel)))
        self._graph.add("Softmax", logits, output="probabilities", axis=1)
        return self._graph.model("minifasnet", {"probabilities": ("n", CLASSES)})

    def _rectified(self, x: str, filters: Filters, name: str) -> str:
        """A convolution and the PReLU of that name."""
        return self._graph.prelu(self._graph.convolve(x, filters), self._tensors.slopes(name, filters))

    def _weighed(self, x: str, squeeze: Filters, excite: Filters) -> str:
        """Squeeze-and-excitation: each channel times a weight that all channels' means tell."""
        means = self._graph.add("GlobalAveragePool", x)
        squeezed = self._graph.add("Relu", self._graph.convolve(means, squeeze))
        return self._graph.add("Mul", x, self._graph.add("Sigmoid", self._graph.convolve(squeezed, excite)))


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise BrokenFile(complaint)
