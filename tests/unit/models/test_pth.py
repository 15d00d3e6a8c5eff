"""Files of PyTorch tensors are read without PyTorch, and nothing that they ask for is run."""

import collections
import io
import pickle

import numpy as np
import pytest

from deploy.models.formats import BrokenFile, pth


def saved(state: bytes) -> bytes:
    """A .pth file around the pickle of its state dict, with one data block "0" of six floats."""
    head = pickle.dumps(pth.MAGIC, 2) + pickle.dumps(pth.VERSION, 2) + pickle.dumps({}, 2)
    block = np.arange(6, dtype="<f4")
    return head + state + pickle.dumps(["0"], 2) + len(block).to_bytes(8, "little") + block.tobytes()


class Global:
    """Pickled as a name to import."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Storage:
    """Pickled as a reference to a data block."""

    def __init__(self, count=6, kind="FloatStorage", key="0"):
        self.pid = ("storage", Global("torch", kind), key, "cpu", count, None)


class Call:
    """Pickled as the result of a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args


class Writer(pickle._Pickler):
    """Writes names, data blocks and calls that need not exist here."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def pickled(obj) -> bytes:
    buffer = io.BytesIO()
    Writer(buffer, 2).dump(obj)
    return buffer.getvalue()


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
ORDERED_DICT = Global("collections", "OrderedDict")


def tensor(storage=None, offset=0, shape=(2, 3), stride=(3, 1)):
    return Call(REBUILD, storage or Storage(), offset, shape, stride, False, collections.OrderedDict())


def state(value) -> bytes:
    return pickled(collections.OrderedDict(w=value))


def test_reads_a_small_file():
    tensors = pth.read_state_dict(saved(state(tensor())))
    np.testing.assert_array_equal(tensors["w"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "value",
    [
        Call(Global("os", "system"), "touch /tmp/evil"),
        Call(Global("builtins", "eval"), "1"),
        Call(Global("builtins", "getattr"), REBUILD, "__class__"),
        Call(Global("torch.storage", "_load_from_bytes"), b""),
        Call(Global("collections", "namedtuple"), "A", "b"),
        Global("services.liveness", "pth"),
        tensor(Storage(kind="HalfStorage")),
    ],
)
def test_refuses_every_other_name(value):
    with pytest.raises(BrokenFile, match="does not belong"):
        pth.read_state_dict(saved(state(value)))


@pytest.mark.parametrize(
    "value",
    [
        tensor(offset=1),
        tensor(offset=-1),
        tensor(stride=(1, 2)),
        tensor(stride=(0, 0)),
        tensor(shape=(2, 4), stride=(4, 1)),
        tensor(shape=(-2, -3), stride=(-3, 1)),
        tensor(shape=(2**62, 8), stride=(8, 1)),
        tensor(Storage(count=2**62)),
        tensor(Storage(count=-1)),
        tensor(Storage(count=7)),
        tensor(Storage(key="1")),
        Call(REBUILD),
        Call(REBUILD, 1, 0, (6,), (1,)),
        Storage(),
        REBUILD,
        1,
        [tensor()],
    ],
)
def test_refuses_what_is_no_whole_tensor(value):
    with pytest.raises(BrokenFile):
        pth.read_state_dict(saved(state(value)))


@pytest.mark.parametrize("victim", [REBUILD, Global("torch", "FloatStorage"), Storage(), tensor(), ORDERED_DICT])
@pytest.mark.parametrize("change", [{"kind": "LongStorage"}, (None, {"__call__": 1})])
def test_a_pickle_cannot_change_what_it_is_given(victim, change):
    poison = pickled(victim)[:-1] + pickled(change)[2:-1] + pickle.BUILD + pickle.STOP
    with pytest.raises(BrokenFile, match="cannot be read"):
        pth.read_state_dict(saved(poison))
    pth.read_state_dict(saved(state(tensor())))


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 a zip file", b"\x80\x02.", pickle.dumps(1), saved(b""), saved(b".")]
)
def test_refuses_what_is_no_pth_file(data):
    with pytest.raises(BrokenFile):
        pth.read_state_dict(data)


def test_refuses_every_cut_and_every_addition(photos):
    data = (photos / "weights" / "minifasnet" / "2.7_80x80_MiniFASNetV2.pth").read_bytes()
    for length in (*range(0, 66_000, 997), len(data) - 1):
        with pytest.raises(BrokenFile):
            pth.read_state_dict(data[:length])
    with pytest.raises(BrokenFile, match="follows"):
        pth.read_state_dict(data + b"\0")


def test_reads_every_tensor(photos):
    tensors = pth.read_state_dict((photos / "weights" / "minifasnet" / "2.7_80x80_MiniFASNetV2.pth").read_bytes())
    assert len(tensors) == 334
    assert tensors["module.conv1.conv.weight"].shape == (32, 3, 3, 3)
    assert tensors["module.conv1.bn.num_batches_tracked"].dtype == np.int64
