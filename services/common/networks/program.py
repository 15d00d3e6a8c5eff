"""Networks as steps of services.common.networks.convolution, and the memory that they run in."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.errors import ModelUnavailable
from services.common.networks import convolution
from services.common.networks.lanes import LANES

MAX_CHANNELS, MAX_SIDE, MAX_WEIGHT = 4096, 1024, 1e30
#: Numbers that all values of a batch may take.
MAX_VALUES = 1 << 28
#: Values and weights start where vectors lie whole in the processor's cache lines.
ALIGNED = 64


@dataclass(frozen=True)
class Bordered:
    """Where a value of a network lies: a batch of squares, each with a border of zeros, and up to whole tiles.

    Attributes:
        start: of the first image's border.
        side: of the square, without the border.
        channels: of a pixel; more than 3 are whole blocks of a product.
        used: how many of them are not just zeros.
    """

    start: int
    side: int
    channels: int
    used: int

    plane = LANES

    @property
    def pixel(self) -> int:
        return self.channels

    @property
    def row(self) -> int:
        tile = max(convolution.INPUTS)
        return (-(-self.side // tile) * tile + 2) * self.channels

    @property
    def image(self) -> int:
        return self.row // self.channels * self.row + convolution.APART

    @property
    def first(self) -> int:
        """The first pixel within the border."""
        return self.start + self.row + self.channels


@dataclass(frozen=True)
class Planes:
    """Where a value of planes lies: a batch of squares without borders, a plane for each vector of channels.

    Attributes:
        first: where the first image starts.
        side: of the square.
        used: how many channels are not just zeros.
    """

    first: int
    side: int
    used: int

    pixel = LANES

    @property
    def channels(self) -> int:
        return -(-self.used // LANES) * LANES

    @property
    def row(self) -> int:
        return self.side * self.pixel

    @property
    def plane(self) -> int:
        return self.side * self.row

    @property
    def image(self) -> int:
        return self.side**2 * self.channels


class Builder:
    """Lays out the values of a batch of images, the parameters, and the steps.

    Attributes:
        size: numbers that all values take so far.
    """

    def __init__(self, batch: int) -> None:
        """`batch`: images worked on together."""
        self.size = 0
        self._batch = batch
        self._steps: list[tuple[int, ...]] = []
        self._parameters: list[np.ndarray] = []

    def place(self, value: Bordered | Planes) -> None:
        """Makes room for a value, whose start is `size`.

        Raises:
            ModelUnavailable: it is too large.
        """
        self.check(value)
        self.size += -(-self._batch * value.image // ALIGNED) * ALIGNED
        require(self.size <= MAX_VALUES, "its values are too large")

    def check(self, value: Bordered | Planes) -> None:
        """Raises ModelUnavailable for a value that is too large."""
        require(value.side <= MAX_SIDE and value.channels <= MAX_CHANNELS, "its values are too large")

    def constant(self, numbers: np.ndarray) -> int:
        """Where these will be among the parameters.

        Raises:
            ModelUnavailable: they are too large, or not finite.
        """
        require(bool(np.abs(numbers).max() < MAX_WEIGHT), "a weight is too large")
        start = sum(map(len, self._parameters))
        self._parameters.append(np.pad(numbers.astype(np.float32), (0, -len(numbers) % ALIGNED)))
        return start

    def step(self, source: Bordered | Planes, target: Bordered | Planes, **fields: int) -> None:
        """Adds a step from one value to another; `fields`: of convolution.STEP, those that the values do not tell."""
        for name, value in (("source", source), ("target", target)):
            distances = {part: getattr(value, part) for part in ("image", "row", "pixel", "plane")}
            known = {f"{name}_{part}": distance for part, distance in distances.items()}
            fields = known | {f"{name}_start": value.first} | fields
        fields = {"channels": source.used, "filters": target.channels} | fields
        self._steps.append(tuple(fields.get(name, 0) for name in convolution.STEP.names))

    def program(self, input_: Bordered, output: Bordered | Planes, cache: Path | None) -> "Program":
        """`output`: of one pixel an image; `cache`: see native.load."""
        steps = np.array(self._steps, convolution.STEP)
        parameters = _aligned(sum(map(len, self._parameters)))
        np.concatenate(self._parameters, out=parameters)
        return Program(
            convolution.Convolutions(cache), steps, parameters, _Layout(self._batch, self.size, input_, output)
        )


def require(condition: bool, complaint: str) -> None:
    """Raises ModelUnavailable with the complaint unless the condition holds."""
    if not condition:
        raise ModelUnavailable(f"the network cannot be built: {complaint}")


@dataclass(frozen=True)
class _Layout:
    """Where a program's values lie; see Builder for the terms."""

    batch: int
    size: int
    input: Bordered
    output: Bordered | Planes


class _Memory:
    """What a call works in.

    Attributes:
        values, own: see convolution.Convolutions.
        images: (batch, side, side, channels), a view of the values.
        results: (batch, used), another.
    """

    def __init__(self, layout: _Layout, own: int) -> None:
        self.values, self.own = _aligned(layout.size), _aligned(own)
        start, output = layout.input, layout.output
        self.images = self._view(
            start.first,
            (start.image, start.row, start.pixel, 1),
            (layout.batch, start.side, start.side, start.used),
        )
        self.results = self._view(output.first, (output.image, 1), (layout.batch, output.used))

    def _view(self, start: int, distances: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
        strides = [4 * distance for distance in distances]
        return np.lib.stride_tricks.as_strided(self.values[start:], shape, strides)


class Program:
    """A network, ready to run. Safe to call from several threads."""

    def __init__(
        self, convolutions: convolution.Convolutions, steps: np.ndarray, parameters: np.ndarray, layout: _Layout
    ) -> None:
        """For steps and parameters see `convolutions`."""
        self._convolutions = convolutions
        self._steps, self._parameters, self._layout = steps, parameters, layout
        self._own = max(convolution.room(step) for step in steps)
        self._free: list[_Memory] = []  # of calls that have ended

    def run(self, images: np.ndarray) -> np.ndarray:
        """What the last step makes of images, (n, side, side, channels) of any type of number.

        Returns:
            float32 (n, channels used), each image's to the bit the same whatever else is there.
        """
        try:
            memory = self._free.pop()
        except IndexError:
            memory = _Memory(self._layout, self._own)
        results = np.empty((len(images), self._layout.output.used), np.float32)
        for start in range(0, len(images), self._layout.batch):
            some = images[start : start + self._layout.batch]
            memory.images[: len(some)] = some
            self._convolutions(self._steps, len(some), memory.values, self._parameters, memory.own)
            results[start : start + len(some)] = memory.results[: len(some)]
        self._free.append(memory)
        return results


def _aligned(size: int) -> np.ndarray:
    """Zeros, float32."""
    memory = np.zeros(size + ALIGNED // 4, np.float32)
    first = -memory.ctypes.data % ALIGNED // 4
    return memory[first : first + size]
