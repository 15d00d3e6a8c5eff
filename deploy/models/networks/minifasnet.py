"""MiniFASNetV2 and MiniFASNetV1SE, built from their tensors alone and run by this project's own convolutions.

Both are MobileFaceNets with other widths (Silent-Face-Anti-Spoofing, src/model_lib/MiniFASNet.py, Apache-2.0): a
convolution, a depthwise one, three stages that halve the picture, each with residual blocks after it, and a linear
head. Which blocks there are, how wide they are and which end in squeeze-and-excitation, the tensors' names and shapes
tell; what they do not tell (strides, paddings, the batch norms' epsilon) is written here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.networks import convolution
from services.common.networks.lanes import WIDTH
from services.common.networks.program import Bordered, Builder, Planes, Program, require

SIDE = 80
CLASSES = 3
#: Faces worked on together: that shares but the cost of a call; a bound on memory (2 MB).
BATCH = 4
#: PyTorch's default, which the networks were trained with.
EPSILON = 1e-5
#: Blocks that halve the picture, each followed by its residual blocks.
STAGES = (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5"))


class MiniFasNetwork:
    """A network, ready to run. Safe to call from several threads."""

    def __init__(self, tensors: Mapping[str, np.ndarray], cache: Path | None = None) -> None:
        """
        Args:
            tensors: the state dict; names may begin with "module.".
            cache: see native.load.

        Raises:
            KeyError: a tensor is missing.
            ModelUnavailable: one has another shape, or holds what cannot be computed with.
        """
        layers = _Layers({name.removeprefix("module."): value for name, value in tensors.items()})
        layers.begin("conv1", "conv2_dw")
        for halving, residual in STAGES:
            layers.halve(halving)
            for name in layers.blocks_of(residual):
                layers.add_block(name)
        self._program = layers.end("conv_6_sep", "conv_6_dw", cache)

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Of the classes, float32 (n, 3), to the bit the same for a crop whatever others there are.

        Args:
            crops: uint8 (n, 80, 80, 3), BGR.
        """
        logits = self._program.run(crops)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class _Filters:
    """A convolution with its batch norm and activation.

    Attributes:
        weights: float64 (filters, channels, window, window).
        bias, slopes: (filters,); slopes of the PReLU, 1 where there is none.
    """

    weights: np.ndarray
    bias: np.ndarray
    slopes: np.ndarray


class _Layers:
    """Makes steps of a network's layers.

    Values lie in two places in turn: a block's result, where the picture is halved, is not where its source is, and
    what is to be added to a block's source goes through the other place.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._builder = Builder(BATCH)
        self._input = Bordered(0, SIDE, 3, 3)
        self._builder.place(self._input)
        self._places: list[Planes] = []

    def begin(self, first: str, second: str) -> None:
        """A convolution of 3 × 3 that halves the picture, and a depthwise one."""
        filters = self._filters(first)
        count = len(filters.bias)
        require(filters.weights.shape == (count, 3, 3, 3) and count % WIDTH == 0, "a first layer of other form")
        for _ in range(2):
            self._places.append(Planes(self._builder.size, SIDE // 2, count))
            self._builder.place(self._places[-1])
        self._value, target = self._places
        corner = self._input.first - self._input.row - self._input.channels
        fields = {"kind": convolution.DIRECT, "window": 3, "stride": 2, "source_start": corner}
        self._step(self._input, self._value, filters, convolution.prepared(filters.weights, 0), **fields)
        self._depthwise(second, self._value, target)
        self._value = target

    def halve(self, name: str) -> None:
        """A block that halves the picture."""
        require(f"{name}.se_module.fc1.weight" not in self._tensors, "squeezing where nothing is added")
        target = self._other(self._value.side // 2, self._count(f"{name}.project.conv"))
        self._bottleneck(name, self._value, target)
        self._value = target

    def add_block(self, name: str) -> None:
        """A block whose result is added to what it is given."""
        value = self._value
        if f"{name}.se_module.fc1.weight" not in self._tensors:
            self._bottleneck(name, value, value, add=1)
            return
        made = self._other(value.side, value.used)
        self._bottleneck(name, value, made)
        self._builder.step(made, value, kind=convolution.SQUEEZE, side=value.side)
        all_, few = Planes(0, 1, value.used), Planes(0, 1, self._count(f"{name}.se_module.fc1"))
        require(few.used <= value.used, "squeezing to more channels")
        self._pointwise(self._filters(f"{name}.se_module", "fc1", "bn1", slopes=0), all_, few)
        self._pointwise(self._filters(f"{name}.se_module", "fc2", "bn2"), few, all_)

    def blocks_of(self, name: str) -> list[str]:
        """`name.model.0`, `name.model.1`, … as many as there are."""
        count = sum(key.startswith(f"{name}.model.") and key.endswith(".project.conv.weight") for key in self._tensors)
        return [f"{name}.model.{index}" for index in range(count)]

    def end(self, separate: str, whole: str, cache: Path | None) -> Program:
        """The head: many channels, each filtered to one number, and what is linear in these; `cache`: see native.load."""
        filters = self._filters(separate)
        value = self._other(self._value.side, len(filters.bias))
        self._pointwise(filters, self._value, value)
        self._value = value
        last = self._filters(whole)
        features = self._other(1, value.used)
        require(last.weights.shape == (value.used, 1, value.side, value.side), "a last convolution of other form")
        windows = convolution.prepared_windows(_filled(last.weights[:, 0], value.channels))
        self._step(value, features, last, windows, kind=convolution.WHOLE, window=value.side)
        self._value = features
        logits = self._other(1, CLASSES)
        self._pointwise(self._head(value.used), features, logits)
        return self._builder.program(self._input, logits, cache)

    def _other(self, side: int, used: int) -> Planes:
        """A value in the place where the present one is not."""
        place = next(place for place in self._places if place.first != self._value.first)
        value = Planes(place.first, side, used)
        require(value.image <= place.image, "its values are too large")
        return value

    def _bottleneck(self, name: str, source: Planes, target: Planes, add: int = 0) -> None:
        """Widen (1×1), filter each channel (3×3), narrow (1×1)."""
        wide = self._filters(f"{name}.conv")
        before, after = (Planes(0, value.side, len(wide.bias)) for value in (source, target))
        self._builder.check(before)
        last = {"target_start": target.first, "target_image": target.image}
        self._pointwise(wide, source, before, kind=convolution.BOTTLENECK, **last)
        self._depthwise(f"{name}.conv_dw", before, after)
        self._pointwise(self._filters(f"{name}.project"), after, target, add=add)

    def _pointwise(self, filters: _Filters, source: Planes, target: Planes, **fields: int) -> None:
        require(filters.weights.shape == (target.used, source.used, 1, 1), "a layer does not fit its input")
        weights = convolution.prepared_pixels(_filled(filters.weights[:, :, 0, 0], target.channels))
        self._step(source, target, filters, weights, **({"kind": convolution.POINTWISE} | fields))

    def _depthwise(self, name: str, source: Planes, target: Planes) -> None:
        filters = self._filters(name)
        require(filters.weights.shape == (source.used, 1, 3, 3), "a depthwise layer does not fit its input")
        weights = convolution.prepared_windows(_filled(filters.weights[:, 0], target.channels))
        stride = source.side // target.side
        self._step(source, target, filters, weights, kind=convolution.DEPTHWISE, stride=stride)

    def _step(self, source: Bordered | Planes, target: Planes, filters: _Filters, weights: np.ndarray, **fields: int):
        fields |= {"weights": self._builder.constant(weights), "side": target.side}
        fields |= {
            name: self._builder.constant(_filled(getattr(filters, name), target.channels))
            for name in ("bias", "slopes")
        }
        self._builder.step(source, target, **fields)

    def _filters(self, name: str, filters: str = "conv", norm: str = "bn", slopes: float = 1) -> _Filters:
        """`slopes`: of the activation where no tensor tells them."""
        count, given = self._count(f"{name}.{filters}"), f"{name}.prelu.weight"
        scale, shift = self._norm(f"{name}.{norm}", count)
        slope = self._vector(given, count) if given in self._tensors else np.full(count, slopes)
        return _Filters(self._tensors[f"{name}.{filters}.weight"] * scale[:, None, None, None], shift, slope)

    def _count(self, name: str) -> int:
        """Filters of a convolution."""
        weights = self._tensors[f"{name}.weight"]
        require(weights.ndim == 4, f"{name} is no convolution")
        return len(weights)

    def _head(self, features: int) -> _Filters:
        """The linear layer, its batch norm and the classifier are linear, so they are one matrix."""
        linear, classes = (self._tensors[f"{name}.weight"].astype(np.float64) for name in ("linear", "prob"))
        fit = linear.ndim == classes.ndim == 2 and classes.shape == (CLASSES, len(linear))
        require(fit and linear.shape[1] == features, "a last layer of other form")
        scale, shift = self._norm("bn", len(linear))
        matrix = classes @ (linear * scale[:, None])
        return _Filters(matrix[:, :, None, None], classes @ shift, np.ones(CLASSES))

    def _norm(self, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A trained batch norm as y = scale·x + shift, float64."""
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gain, bias = (self._vector(f"{name}.{part}", length) for part in parts)
        require(variance.min() >= 0, "a batch norm's variance is below zero")
        scale = gain / np.sqrt(variance + EPSILON)
        return scale, bias - mean * scale

    def _vector(self, name: str, length: int) -> np.ndarray:
        vector = self._tensors[name].astype(np.float64)
        require(vector.shape == (length,), f"{name} is of another shape")
        return vector


def _filled(weights: np.ndarray, filters: int) -> np.ndarray:
    """With zeros for filters that fill vectors."""
    return np.pad(weights, [(0, filters - len(weights))] + [(0, 0)] * (weights.ndim - 1))
