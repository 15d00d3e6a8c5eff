"""dlib's ResNet for faces, run by this project's own convolutions: as dlib computes it, several times faster.

It takes float32 (n, side, side, 3) BGR pixels, 0 to 255, and gives float32 (n, 128), as dlib's
`face_recognition_model_v1.compute_face_descriptor` does for RGB chips of that size. Affine layers, and the input's
(pixel - mean) / 256 and channel order, are folded into the convolutions: exact but for rounding, since the first
convolution has no padding.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from deploy.models.formats.dlib_dat import (
    AddSkipped,
    Affine,
    Convolution,
    Dense,
    Layer,
    Network,
    Pooling,
    Relu,
    read_network,
)
from services.common.errors import ModelUnavailable
from services.common.networks import convolution
from services.common.networks.lanes import WIDTH
from services.common.networks.program import Bordered, Builder, Program, require

#: Raise it when the same file comes to give other templates, by more than rounding.
REVISION = 2
#: Images worked on together.
BATCH = 8


class DlibNetwork:
    """A network, ready to run; used as ONNX Runtime's sessions are. Safe to call from several threads."""

    def __init__(self, network: Network, cache: Path | None = None) -> None:
        """
        Args:
            cache: see native.load.

        Raises:
            ModelUnavailable: the layers do not fit each other, or are of kinds that are not known here.
        """
        builder, rest = _Builder(network), network.layers
        while rest:
            rest = rest[builder.add(rest) :]
        self._shape = ["n", *network.size, 3]
        self._program, self._dense = builder.program(cache), builder.dense

    @classmethod
    def load(cls, dat: Path, cache: Path | None = None) -> "DlibNetwork":
        """Reads a `.dat` file; `cache`: see native.load.

        Raises:
            ModelUnavailable: it cannot be read, or is broken.
        """
        try:
            return cls(read_network(dat.read_bytes()), cache)
        except OSError as error:
            raise ModelUnavailable(f"{dat} cannot be read: {error}") from error
        except ModelUnavailable as error:
            raise ModelUnavailable(f"{dat}: {error}") from error

    def get_inputs(self) -> list[SimpleNamespace]:
        """Its one input."""
        return [SimpleNamespace(name="pixels", shape=self._shape)]

    def run(self, outputs: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The templates of `feeds["pixels"]`, float32 (n, side, side, 3); to the bit the same whatever else is in it.

        Raises:
            ModelUnavailable: the pixels are of another size.
        """
        pixels = feeds["pixels"]
        if list(pixels.shape[1:]) != self._shape[1:]:
            raise ModelUnavailable(f"the network takes {self._shape[1:]}, not {pixels.shape[1:]}")
        return [np.stack([face @ self._dense for face in self._program.run(pixels)])]  # the same in any company


class _Builder:
    """Makes steps of layers.

    A residual block's result is added to its input where that lies, or to a new value made of the input by pooling. So
    two or three values of a shape are enough, and none is below zero.
    """

    def __init__(self, network: Network) -> None:
        require(network.size[0] == network.size[1], "its input is no square")
        self.dense: np.ndarray | None = None
        self._mean = network.mean
        self._builder = Builder(BATCH)
        self._values: list[Bordered] = []
        self._input = self._output = self._new(network.size[0], 3, 3)
        self._block: Bordered | None = None  # the input of the residual block

    def program(self, cache: Path | None) -> Program:
        require(self.dense is not None, "the last layer is not the dense one")
        return self._builder.program(self._input, self._output, cache)

    def add(self, layers: tuple[Layer, ...]) -> int:
        """Adds the first of the layers, as many as make steps together; returns how many."""
        match layers:
            case (Convolution(), Affine(), Relu(), *_):
                self._convolve(*layers[:2], None)
                return 3
            case (Convolution(), Affine(), AddSkipped(), Relu(), *_) if self._block:
                self._block = self._convolve(*layers[:2], self._block)
                return 4
            case (Convolution(), Affine(), Pooling(), AddSkipped(), Relu(), *_) if self._block:
                summand = self._pool(layers[2], self._block, len(layers[0].bias))
                self._block = self._convolve(*layers[:2], summand)
                return 5
            case (Pooling(), *_) if self._output != self._input:
                self._output = self._block = self._pool(layers[0], self._output, self._output.used)
                return 1
            case (Dense() as dense,) if (self._output.side, self._output.used) == (1, len(dense.weights)):
                self.dense = dense.weights
                return 1
        kind, left = type(layers[0]).__name__.lower(), len(layers)
        raise ModelUnavailable(f"the dlib network cannot be built: {kind}, {left} layers before its end, does not fit")

    def _convolve(self, layer: Convolution, affine: Affine, summand: Bordered | None) -> Bordered:
        """`summand`: what the result is added to, where that lies; dlib takes what is missing for zeros."""
        source = self._output
        layer = _fold_affine(layer if source != self._input else _fold_input(layer, self._mean), affine)
        filters, channels, window, _ = layer.weights.shape
        stride, padding = layer.stride[0], layer.padding[0]
        require(_is_square(layer) and padding in (0, 1), "windows of unknown geometry")
        require(channels == source.used, "a convolution does not fit its input")
        side = (source.side + 2 * padding - window) // stride + 1
        require(side > 0, "a window is larger than its input")
        target = summand or self._spare(side, filters)
        require(side <= target.side and filters == target.used, "a block does not fit its input")
        weights = np.zeros((target.channels, source.channels, window, window))
        weights[:filters, :channels] = layer.weights
        bias = np.zeros(target.channels)
        bias[:filters] = layer.bias
        step = {"side": side, "stride": stride, "add": int(summand is not None)}
        if (window, stride, padding) == (3, 1, 1) and side > 1 and source != self._input:
            step["kind"], step["source_start"] = convolution.WINOGRAD, source.start
            step["tile"] = 4 if side >= convolution.LEAST_OF_LARGE_TILES else 2
        else:
            unseen = max(0, padding - (side - 1) * stride)  # under this much of the window there is border only
            weights = weights[:, :, unseen : source.side + padding, unseen : source.side + padding]
            step["kind"], step["window"] = convolution.DIRECT, weights.shape[2]
            step["source_start"] = source.first + (unseen - padding) * (source.row + source.channels)
        step["weights"] = self._builder.constant(convolution.prepared(weights, step.get("tile", 0)))
        step["bias"] = self._builder.constant(bias)
        step["slopes"] = self._builder.constant(np.zeros(target.channels))
        self._builder.step(source, target, **step)
        self._output = target
        return target

    def _pool(self, layer: Pooling, source: Bordered, channels: int) -> Bordered:
        """`channels`: of the result, those beyond the source's zero."""
        window, stride = layer.window[0] or source.side, layer.stride[0]
        require(_is_square(layer) and window <= source.side, "windows of unknown geometry")
        require(source.used <= channels, "a block does not fit its input")
        side = (source.side - window) // stride + 1
        target = self._spare(side, channels)
        kind = convolution.MAXIMUM if layer.kind == "max" else convolution.AVERAGE
        self._builder.step(source, target, kind=kind, side=side, window=window, stride=stride)
        return target

    def _spare(self, side: int, used: int) -> Bordered:
        """A value of that shape that is not needed any more, or a new one."""
        channels = -(-used // WIDTH) * WIDTH
        needed = {value.start for value in (self._input, self._output, self._block) if value}
        for value in self._values:
            if (value.side, value.channels) == (side, channels) and value.start not in needed:
                return replace(value, used=used)
        return self._new(side, channels, used)

    def _new(self, side: int, channels: int, used: int) -> Bordered:
        value = Bordered(self._builder.size, side, channels, used)
        self._builder.place(value)
        self._values.append(value)
        return value


def _is_square(layer: Convolution | Pooling) -> bool:
    window = layer.weights.shape[2:] if isinstance(layer, Convolution) else layer.window
    return all(one == other for one, other in (window, layer.stride, layer.padding))


def _fold_affine(layer: Convolution, affine: Affine) -> Convolution:
    gamma = affine.gamma.astype(np.float64)
    require(len(gamma) == len(layer.bias), "an affine layer does not fit its convolution")
    weights = layer.weights * gamma[:, None, None, None]
    return Convolution(weights, layer.bias * gamma + affine.beta, layer.stride, layer.padding)


def _fold_input(layer: Convolution, mean: tuple[float, float, float]) -> Convolution:
    """Makes a convolution over (rgb - mean) / 256 into one over BGR pixels."""
    require(layer.weights.shape[1] == 3 and layer.padding == (0, 0), "the first layer is not as known")
    weights = layer.weights.astype(np.float64) / 256
    bias = layer.bias - np.einsum("fcyx,c->f", weights, np.asarray(mean))
    return Convolution(weights[:, ::-1], bias, layer.stride, layer.padding)
