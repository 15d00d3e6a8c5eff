"""dlib's ResNet for faces, read from dlib's own `.dat` file.

The format is dlib's serialisation (dlib/serialize.h, dlib/dnn/core.h), as found byte for byte in
`dlib_face_recognition_resnet_model_v1.dat` (CC0, http://dlib.net/files): a header, then a flat list of layers, the one
next to the input first. Nothing in a file is trusted: what does not add up is a BrokenFile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy.models.formats import BrokenFile

MAX_LAYERS = 1000
MAX_NUMBER = 1 << 20  # no count or size in such a network is larger


@dataclass(frozen=True)
class Convolution:
    """`con_`: weights float32 (filters, channels, rows, columns) and bias (filters,); stride and padding (y, x)."""

    weights: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Affine:
    """`affine_` (batch normalisation, frozen): x · gamma + beta, both float32 (channels,)."""

    gamma: np.ndarray
    beta: np.ndarray


@dataclass(frozen=True)
class Pooling:
    """`max_pool_` or `avg_pool_`; window (0, 0) is the whole picture."""

    kind: str  # "max" or "average"
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Relu:
    """`relu_`."""


@dataclass(frozen=True)
class AddSkipped:
    """`add_prev_`: adds the residual block's input (or that input pooled, where a pooling layer comes just before)."""


@dataclass(frozen=True)
class Dense:
    """`fc_` without bias: x @ weights, float32 (inputs, outputs)."""

    weights: np.ndarray


Layer = Convolution | Affine | Pooling | Relu | AddSkipped | Dense


@dataclass(frozen=True)
class Network:
    """A network as it is in the file.

    Attributes:
        mean: red, green, blue; the network sees (pixel - mean) / 256.
        size: rows, columns of its input.
        layers: from input to output.
    """

    mean: tuple[float, float, float]
    size: tuple[int, int]
    layers: tuple[Layer, ...]


def read_network(data: bytes) -> Network:
    """Reads a `.dat` file's bytes.

    Raises:
        BrokenFile: they are not such a network, or broken; the message says where.
    """
    reader = DatReader(data)
    reader.expect(reader.integer() == 1 and reader.text() == "loss_metric_2", "not a loss_metric network")
    reader.expect(math.isfinite(reader.real()) and math.isfinite(reader.real()), "margin or threshold is no number")
    depth = _skip_versions(reader)
    mean = (reader.real(), reader.real(), reader.real())
    reader.expect(all(0 <= value <= 255 for value in mean), "a mean is no pixel value")
    size = (reader.count(), reader.count())
    layers: list[Layer] = []
    while not reader.at_end():
        reader.expect(len(layers) < min(depth, MAX_LAYERS), "more layers than announced")
        layers.append(_read_layer(reader))
        _skip_state(reader, first=len(layers) == 1)
    reader.expect(bool(layers), "no layers")
    return Network(mean, size, tuple(layers))


class DatReader:
    """Reads dlib's primitive types one after the other; every failure is a BrokenFile with the offset."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def at_end(self) -> bool:
        return self._at == len(self._data)

    def expect(self, condition: bool, complaint: str) -> None:
        if not condition:
            raise BrokenFile(f"the dlib .dat file is broken at byte {self._at}: {complaint}")

    def _take(self, size: int) -> memoryview:
        self.expect(0 <= size <= len(self._data) - self._at, "it ends early")
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def integer(self) -> int:
        """A control byte (bit 7 sign, low 4 bits byte count), then the magnitude, little endian."""
        control = self._take(1)[0]
        self.expect(control & 0x70 == 0 and 1 <= control & 15 <= 8, "no integer")
        magnitude = int.from_bytes(self._take(control & 15), "little")
        return -magnitude if control & 0x80 else magnitude

    def count(self, least: int = 1) -> int:
        """An integer between `least` and MAX_NUMBER."""
        value = self.integer()
        self.expect(least <= value <= MAX_NUMBER, f"{value} is out of range")
        return value

    def real(self) -> float:
        """mantissa · 2^exponent; exponents of 32000 and more mean infinity or no number."""
        mantissa, exponent = self.integer(), self.integer()
        self.expect(abs(exponent) < 1100 and abs(mantissa) < 1 << 54, "no finite number")
        return math.ldexp(mantissa, exponent) if mantissa.bit_length() + exponent < 1024 else math.inf

    def flag(self) -> bool:
        value = bytes(self._take(1))
        self.expect(value in (b"0", b"1"), "no truth value")
        return value == b"1"

    def text(self, size: int | None = None) -> str:
        """A length (given, or read) and that many ASCII characters."""
        size = self.integer() if size is None else size
        self.expect(0 < size <= 64, "no short text")
        raw = bytes(self._take(size))
        self.expect(raw.isascii(), "no ASCII text")
        return raw.decode("ascii")

    def tensor(self) -> np.ndarray:
        """Version 2, four sizes, raw float32: a flat float32 array (a copy)."""
        self.expect(self.integer() == 2, "no tensor")
        sizes = [self.count(least=0) for _ in range(4)]
        return self.floats(math.prod(sizes))

    def floats(self, count: int) -> np.ndarray:
        """Raw little-endian float32 values, all finite."""
        values = np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)
        self.expect(bool(np.isfinite(values).all()), "a weight is no number")
        return values

    def alias(self) -> None:
        """An alias of a tensor's part: version 1 and four sizes that the layer's own numbers say already."""
        self.expect(self.integer() == 1, "no alias tensor")
        for _ in range(4):
            self.count(least=0)


def _skip_versions(reader: DatReader) -> int:
    """Skips the versions of the nested layers and the input layer's name after them; returns how many there were."""
    depth = 0
    while (number := reader.integer()) in (1, 2, 3):
        depth += 1
        reader.expect(depth <= MAX_LAYERS, "too many layers")
    reader.expect(reader.text(number) == "input_rgb_image_sized", "not an RGB image network")
    return depth


def _read_layer(reader: DatReader) -> Layer:
    readers: dict[str, Callable[[DatReader], Layer]] = {
        "con_4": _read_convolution,
        "affine_": _read_affine,
        "max_pool_2": lambda source: _read_pooling(source, "max"),
        "avg_pool_2": lambda source: _read_pooling(source, "average"),
        "relu_": lambda source: Relu(),
        "add_prev_": lambda source: AddSkipped(),
        "fc_2": _read_dense,
    }
    name = reader.text()
    reader.expect(name in readers, f"unknown layer {name!r}")
    return readers[name](reader)


def _read_convolution(reader: DatReader) -> Convolution:
    values = reader.tensor()
    filters, rows, columns = reader.count(), reader.count(), reader.count()
    stride = (reader.count(), reader.count())
    padding = (reader.count(least=0), reader.count(least=0))
    _skip_training_settings(reader)
    reader.expect(padding[0] < rows and padding[1] < columns, "padding as large as the filter")
    channels, rest = divmod(len(values) - filters, filters * rows * columns)
    reader.expect(channels > 0 and rest == 0, "weights do not fit the filter's size")
    weights = values[:-filters].reshape(filters, channels, rows, columns)
    return Convolution(weights, values[-filters:], stride, padding)


def _read_affine(reader: DatReader) -> Affine:
    values = reader.tensor()
    reader.alias()
    reader.alias()
    reader.expect(reader.integer() == 0, "affine layer of fully connected mode")
    reader.expect(len(values) > 0 and len(values) % 2 == 0, "affine layer without its two halves")
    gamma, beta = np.split(values, 2)
    return Affine(gamma, beta)


def _read_pooling(reader: DatReader, kind: str) -> Pooling:
    window, stride, padding = ((reader.count(least=0), reader.count(least=0)) for _ in range(3))
    reader.expect(min(stride) > 0 and padding == (0, 0), "pooling of unknown geometry")
    reader.expect((window[0] == 0) == (window[1] == 0), "pooling over a strip")
    return Pooling(kind, window, stride, padding)


def _read_dense(reader: DatReader) -> Dense:
    outputs, inputs = reader.count(), reader.count()
    values = reader.tensor()
    reader.alias()
    reader.alias()
    reader.integer()  # bias mode: the tensor's size tells whether there is one
    for _ in range(4):
        reader.real()
    reader.expect(len(values) == inputs * outputs, "dense layer with a bias, or of a wrong size")
    return Dense(values.reshape(inputs, outputs))


def _skip_training_settings(reader: DatReader) -> None:
    reader.alias()
    reader.alias()
    for _ in range(4):
        reader.real()


def _skip_state(reader: DatReader, first: bool) -> None:
    """What dlib keeps of training after each layer: three flags and three empty tensors."""
    for _ in range(3):
        reader.flag()
    for _ in range(3):
        reader.expect(reader.tensor().size == 0, "a layer holds training data")
    if first:
        reader.expect(reader.integer() == 1, "more than one picture a sample")
