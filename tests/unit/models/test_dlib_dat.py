"""Reading dlib's .dat format, from files written here byte by byte, whole and broken."""

import numpy as np
import pytest

from deploy.models.formats import BrokenFile
from deploy.models.formats.dlib_dat import AddSkipped, Convolution, DatReader, read_network
from deploy.models.networks.dlib import build
from services.common.onnx import open_session

EMPTY = (0, 0, 0, 0)


def integer(value):
    magnitude = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(magnitude) | (0x80 if value < 0 else 0)]) + magnitude


def text(value):
    return integer(len(value)) + value.encode()


def real(mantissa, exponent=0):
    return integer(mantissa) + integer(exponent)


def tensor(shape, values=()):
    return integer(2) + b"".join(map(integer, shape)) + np.asarray(values, "<f4").tobytes()


def alias(*shape):
    return integer(1) + b"".join(map(integer, shape))


def convolution(weights, bias, stride=1, padding=0):
    filters, _, rows, columns = weights.shape
    values = np.concatenate([weights.ravel(), bias])
    numbers = (filters, rows, columns, stride, stride, padding, padding)
    head = text("con_4") + tensor((len(values), 1, 1, 1), values) + b"".join(map(integer, numbers))
    return head + alias(*weights.shape) + alias(1, filters, 1, 1) + real(1) * 4


def affine(gamma, beta):
    head = text("affine_") + tensor((2 * len(gamma), 1, 1, 1), [*gamma, *beta])
    return head + alias(1, len(gamma), 1, 1) * 2 + integer(0)


def pooling(kind, window, stride):
    return text(f"{kind}_pool_2") + b"".join(map(integer, (window, window, stride, stride, 0, 0)))


def dense(weights):
    head = text("fc_2") + integer(weights.shape[1]) + integer(weights.shape[0])
    return head + tensor((*weights.shape, 1, 1), weights) + alias(1, 1, 1, 1) * 2 + integer(1) + real(1) * 4


def dat(*layers, size=4, versions=None):
    """A file of these layers, with what dlib writes around each."""
    header = integer(1) + text("loss_metric_2") + real(41, -10) + real(3, -2)
    header += integer(2) * (len(layers) if versions is None else versions)
    header += text("input_rgb_image_sized") + real(123) + real(117) + real(104) + integer(size) * 2
    state = b"110" + tensor(EMPTY) * 3
    return header + b"".join(
        layer + state + (integer(1) if number == 0 else b"") for number, layer in enumerate(layers)
    )


RANDOM = np.random.default_rng(7)
FIRST = RANDOM.normal(size=(4, 3, 1, 1)).astype(np.float32)
BIAS = RANDOM.normal(size=4).astype(np.float32)
GAMMA, BETA = RANDOM.normal(size=(2, 4)).astype(np.float32)
WIDER = RANDOM.normal(size=(6, 4, 3, 3)).astype(np.float32)
SIX = np.arange(1, 7, dtype=np.float32)
LAST = RANDOM.normal(size=(6, 2)).astype(np.float32)
#: Stem, a residual block that halves the picture and widens the channels, whole pooling, dense layer.
LAYERS = (
    convolution(FIRST, BIAS),
    affine(GAMMA, BETA),
    text("relu_"),
    pooling("max", 1, 1),
    convolution(WIDER, SIX, stride=2),
    affine(SIX, SIX),
    pooling("avg", 2, 2),
    text("add_prev_"),
    text("relu_"),
    pooling("avg", 0, 1),
    dense(LAST),
)


def expected(pixels):
    """What dlib would compute of float (4, 4, 3) BGR pixels, written out."""
    rgb = (pixels[..., ::-1] - [123, 117, 104]) / 256
    stem = np.maximum((np.einsum("yxc,fc->fyx", rgb, FIRST[:, :, 0, 0]) + BIAS[:, None, None])
                      * GAMMA[:, None, None] + BETA[:, None, None], 0)  # fmt: skip
    branch = ((WIDER * stem[:, :3, :3]).sum(axis=(1, 2, 3)) + SIX) * SIX + SIX
    total = np.zeros((6, 2, 2))
    total[:4] = stem.reshape(4, 2, 2, 2, 2).mean(axis=(2, 4))
    total[:, 0, 0] += branch
    return np.maximum(total, 0).mean(axis=(1, 2)) @ LAST


def test_network_computes_what_the_file_says():
    network = read_network(dat(*LAYERS))
    assert network.mean == (123, 117, 104) and network.size == (4, 4)
    assert isinstance(network.layers[0], Convolution) and isinstance(network.layers[7], AddSkipped)
    pixels = RANDOM.uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    (templates,) = open_session(build(network).SerializeToString()).run(["template"], {"pixels": pixels})
    np.testing.assert_allclose(templates, [expected(picture) for picture in pixels], rtol=1e-4, atol=1e-4)


def test_every_file_that_ends_early_is_refused():
    whole = dat(*LAYERS)
    boundaries = {len(dat(*LAYERS[:count], versions=len(LAYERS))) for count in range(1, len(LAYERS))}
    for size in range(0, len(whole), 3):
        if size not in boundaries:  # a file of fewer whole layers is read; it fails when the graph is built
            with pytest.raises(BrokenFile):
                read_network(whole[:size])
    for size in boundaries:
        with pytest.raises(BrokenFile):
            build(read_network(whole[:size]))


def test_no_damaged_byte_causes_anything_but_broken_file():
    whole = dat(*LAYERS)
    for position in range(0, len(whole), 3):
        value = (0, 0x0F, 0x81, 0xFF)[position % 4]
        damaged = whole[:position] + bytes([value]) + whole[position + 1 :]
        try:
            network = read_network(damaged)
            if position % 9 == 0:  # it takes long
                build(network)
        except BrokenFile as error:
            assert str(error)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", b""),
        ("a web page", b"<!DOCTYPE html><html></html>"),
        ("zeros", bytes(1000)),
        ("no layers", dat()),
        ("more after the end", dat(*LAYERS) + b"x"),
        ("layers that were not announced", dat(*LAYERS, versions=3)),
        ("unknown layer", dat(text("dropout_"))),
        ("a tensor of a terabyte", dat(text("con_4") + tensor((1 << 19, 1 << 19, 1, 1)))),
        ("an integer of 15 bytes", dat(text("con_4") + integer(2) + b"\x0f" + b"\xff" * 15)),
        ("a negative size", dat(text("con_4") + tensor((-1, 1, 1, 1)))),
        ("weights that are no numbers", dat(convolution(FIRST * np.nan, BIAS), affine(GAMMA, BETA))),
        ("training data", dat(LAYERS[0])[:-2] + tensor((1, 1, 1, 1), [1])),
        ("endless nesting", integer(1) + text("loss_metric_2") + real(1) * 2 + integer(2) * 100_000),
        ("infinite mean", integer(1) + text("loss_metric_2") + real(1, 32000)),
    ],
)  # fmt: skip
def test_broken_files_are_refused(name, data):
    with pytest.raises(BrokenFile):
        read_network(data)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("convolution without its affine layer", (LAYERS[0], text("relu_"))),
        ("affine layer alone", (LAYERS[1],)),
        ("first layer of 4 channels", (convolution(WIDER, SIX), affine(SIX, SIX))),
        ("affine of other width", (LAYERS[0], affine(SIX, SIX))),
        ("window larger than the picture", (*LAYERS[:2], pooling("max", 9, 1), LAYERS[-1])),
        ("dense layer of other width", (*LAYERS[:-1], dense(LAST[:5]))),
        ("no dense layer", LAYERS[:-1]),
    ],
)
def test_layers_that_do_not_fit_are_refused(name, layers):
    with pytest.raises(BrokenFile):
        build(read_network(dat(*layers)))


def test_numbers_as_dlib_writes_them():
    reader = DatReader(b"\x01\x2a" + b"\x82\x00\x01" + b"\x01\x03\x81\x01" + b"1")
    assert (reader.integer(), reader.integer(), reader.real(), reader.flag()) == (42, -256, 1.5, True)
    assert reader.at_end()
    assert DatReader(tensor((1, 2, 1, 1), [1, 2])).tensor().tolist() == [1, 2]
