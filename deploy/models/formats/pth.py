"""Reads the tensors of a PyTorch `.pth` file (the format before PyTorch 1.6) without PyTorch, and runs nothing in it.

Such a file is five pickles (a magic number, the format's version, facts on the machine, the tensors without their
data, the keys of the data blocks) and then, per key, an int64 count and the raw little-endian values.
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py, `_legacy_save`.
"""

import io
import math
import pickle
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from deploy.models.formats import BrokenFile

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
#: What unpickling raises for bytes that are no pickle, or not one for this reader.
UNREADABLE = (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError, OverflowError)
DTYPES: dict[str, np.dtype[np.generic]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


# What a pickle can get hold of must have nothing that its BUILD could change: tuples, strings, empty slots.


class _Block(NamedTuple):
    """A block of data that a tensor lies in; kind is one of DTYPES."""

    key: str
    kind: str
    length: int


class _Tensor(NamedTuple):
    """A tensor whose data is not read yet."""

    block: _Block
    shape: tuple[int, ...]


def read_state_dict(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a saved `state_dict`, by name.

    Args:
        data: the whole file.

    Returns:
        float32 or int64 arrays, C-contiguous and read-only (they share `data`).

    Raises:
        BrokenFile: anything else than a dictionary of whole, contiguous tensors, or any other callable in it.
    """
    file = io.BytesIO(data)
    if _load(file) != MAGIC or _load(file) != VERSION:
        raise BrokenFile("not a .pth file of the format before PyTorch 1.6")
    _load(file)
    tensors, keys = _load(file), _load(file)
    if not isinstance(tensors, OrderedDict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise BrokenFile("it holds something else than tensors by name")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BrokenFile("its data blocks have no names")
    arrays = _read_blocks(data, file.tell(), keys, {tensor.block.key: tensor.block for tensor in tensors.values()})
    return {name: arrays[tensor.block.key].reshape(tensor.shape) for name, tensor in tensors.items()}


def _read_blocks(data: bytes, offset: int, keys: list[str], blocks: dict[str, _Block]) -> dict[str, np.ndarray]:
    if set(keys) != set(blocks):
        raise BrokenFile("its tensors and its data blocks do not fit together")
    arrays = {}
    for key in keys:
        block = blocks[key]
        dtype = DTYPES[block.kind]
        start, offset = offset + 8, offset + 8 + block.length * dtype.itemsize
        if offset > len(data) or int.from_bytes(data[start - 8 : start], "little") != block.length:
            raise BrokenFile("a data block is cut short")
        arrays[key] = np.frombuffer(data, dtype, block.length, start)
    if offset != len(data):
        raise BrokenFile("something follows the last data block")
    return arrays


def _load(file: io.BytesIO) -> object:
    try:
        return _Reader(file).load()
    except UNREADABLE as error:
        raise BrokenFile(f"its pickle cannot be read: {error}") from error


class _Rebuild:
    """Stands in for `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(self, block: object, offset: object, shape: object, stride: object, *_: object) -> _Tensor:
        if not isinstance(block, _Block) or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
            raise pickle.UnpicklingError("a tensor without data or shape")
        steps = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        if offset != 0 or stride != steps or math.prod(shape) != block.length or min(shape, default=1) < 1:
            raise pickle.UnpicklingError("a tensor that is not the whole of its data block, in order")
        return _Tensor(block, shape)


class _Reader(pickle.Unpickler):
    """Admits the four names that a state dict needs, and refuses all else."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a file of weights")

    def persistent_load(self, pid: object) -> _Block:
        match pid:
            case ("storage", str() as kind, str() as key, str(), int() as count, None) if kind in DTYPES and count > 0:
                return _Block(key, kind, count)
        raise pickle.UnpicklingError("a data block of an unknown kind")
