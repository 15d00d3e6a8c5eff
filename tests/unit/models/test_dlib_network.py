"""dlib's layers as an ONNX model against the same layers written out."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from deploy.models.formats import BrokenFile
from deploy.models.formats.dlib_dat import AddSkipped, Affine, Convolution, Dense, Layer, Network, Pooling, Relu
from deploy.models.networks.dlib import build
from services.common.onnx import open_session

RANDOM = np.random.default_rng(11)
MEAN = (120.0, 110.0, 100.0)


def convolution(filters: int, channels: int, window: int, stride: int = 1, padding: int = 0) -> list[Layer]:
    scale = 1 / (window * np.sqrt(channels))
    weights = RANDOM.normal(scale=scale, size=(filters, channels, window, window)).astype(np.float32)
    bias, gamma, beta = RANDOM.normal(size=(3, filters)).astype(np.float32)
    return [Convolution(weights, bias, (stride,) * 2, (padding,) * 2), Affine(gamma, beta)]


def pooling(kind: str, window: int, stride: int) -> Pooling:
    return Pooling(kind, (window,) * 2, (stride,) * 2, (0, 0))


def residual(channels: int) -> list[Layer]:
    first, second = convolution(channels, channels, 3, 1, 1), convolution(channels, channels, 3, 1, 1)
    return [*first, Relu(), *second, AddSkipped(), Relu()]


def smaller(filters: int, channels: int) -> list[Layer]:
    """A residual block that halves the side."""
    first, second = convolution(filters, channels, 3, 2), convolution(filters, filters, 3, 1, 1)
    return [*first, Relu(), *second, pooling("average", 2, 2), AddSkipped(), Relu()]


def network(side: int, *layers: Layer, last: int) -> Network:
    dense = Dense(RANDOM.normal(size=(last, 7)).astype(np.float32))
    return Network(MEAN, (side, side), (*layers, pooling("average", 0, 1), dense))


def expected(network: Network, pixels: np.ndarray) -> np.ndarray:
    """What dlib computes of float (n, side, side, 3) BGR pixels, in float64."""
    value = ((pixels[..., ::-1].astype(np.float64) - MEAN) / 256).transpose(0, 3, 1, 2)
    block, pooled = value, None
    for layer, following in zip(network.layers, (*network.layers[1:], None), strict=True):
        match layer:
            case Convolution():
                framed = np.pad(value, [(0, 0), (0, 0), *((padding, padding) for padding in layer.padding)])
                windows = sliding_window_view(framed, layer.weights.shape[2:], (2, 3))
                windows = windows[:, :, :: layer.stride[0], :: layer.stride[1]]
                value = (
                    np.einsum("ncyxij,fcij->nfyx", windows, layer.weights, optimize=True) + layer.bias[:, None, None]
                )
            case Affine():
                value = value * layer.gamma[:, None, None] + layer.beta[:, None, None]
            case Relu():
                value = np.maximum(value, 0)
            case Pooling():
                down = isinstance(following, AddSkipped)
                source = block if down else value
                window = layer.window if layer.window[0] else source.shape[2:]
                windows = sliding_window_view(source, window, (2, 3))[:, :, :: layer.stride[0], :: layer.stride[1]]
                result = windows.max((4, 5)) if layer.kind == "max" else windows.mean((4, 5))
                if down:
                    pooled = result
                else:
                    value = block = result
            case AddSkipped():
                summand, pooled = (block if pooled is None else pooled), None
                shape = [max(sides) for sides in zip(value.shape, summand.shape, strict=True)]
                total = np.zeros(shape)
                for part in (value, summand):
                    total[tuple(map(slice, part.shape))] += part
                value = block = np.maximum(total, 0)
            case Dense():
                return value[:, :, 0, 0] @ layer.weights
    raise AssertionError("no dense layer")


def pixels(count: int, side: int) -> np.ndarray:
    return RANDOM.uniform(0, 255, (count, side, side, 3)).astype(np.float32)


def assert_same(network: Network, *counts: int) -> None:
    """That the model computes what is expected, of these numbers of faces."""
    session = open_session(build(network).SerializeToString())
    for count in counts:
        faces = RANDOM.uniform(0, 255, (count, *network.size, 3)).astype(np.float32)
        (templates,) = session.run(["template"], {"pixels": faces})
        wanted = expected(network, faces)
        assert templates.dtype == np.float32
        np.testing.assert_allclose(templates, wanted, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("side", [*range(2, 21), 35, 61])
def test_blocks_of_any_side(side: int):
    assert_same(network(side, *convolution(32, 3, 1), Relu(), pooling("max", 1, 1), *residual(32), last=32), 1, 3)


@pytest.mark.parametrize(("channels", "filters"), [(4, 6), (32, 64), (33, 130), (64, 64), (8, 4)])
@pytest.mark.parametrize("side", [4, 7, 17, 18])
def test_blocks_that_change_shape(side: int, channels: int, filters: int):
    first = [*convolution(channels, 3, 1), Relu(), pooling("max", 1, 1)]
    last = max(channels, filters)  # what is smaller is filled up with zeros
    blocks = [*smaller(filters, channels), *residual(last), *residual(last)]
    assert_same(network(side, *first, *blocks, last=last), 2)


@pytest.mark.parametrize(("window", "stride", "side"), [(7, 2, 30), (5, 3, 11), (3, 1, 9), (2, 2, 2)])
def test_first_layers(window: int, stride: int, side: int):
    pool = pooling("max", 3, 2) if side > 20 else pooling("average", 1, 1)
    second = [*convolution(5, 9, 3, 1, 1), Relu(), *convolution(5, 5, 3, 1, 1), Relu()]
    assert_same(network(side, *convolution(9, 3, window, stride), Relu(), pool, *second, last=5), 2)


def test_windows_and_pictures_that_are_no_squares():
    layers: list[Layer] = [*convolution(8, 3, 3), Relu(), *convolution(8, 8, 3, 1, 2), Relu()]
    layers[3] = Convolution(
        RANDOM.normal(size=(8, 8, 1, 3)).astype(np.float32), np.zeros(8, np.float32), (2, 1), (0, 2)
    )
    square = network(12, *layers, last=8)
    assert_same(Network(MEAN, (9, 14), square.layers), 2)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("a sum after a ReLU", [*convolution(8, 3, 1), Relu(), pooling("max", 1, 1), AddSkipped(), Relu()]),
        ("a sum without a block", [*convolution(8, 3, 1), AddSkipped(), Relu()]),
        ("no ReLU", [*convolution(8, 3, 1), pooling("max", 1, 1)]),
        ("pooling first", [pooling("max", 1, 1), *convolution(8, 3, 1), Relu()]),
        ("padding first", [*convolution(8, 3, 3, 1, 1), Relu()]),
        ("a window larger than its input", [*convolution(8, 3, 13), Relu()]),
        ("other channels", [*convolution(8, 3, 3), Relu(), *convolution(8, 9, 3, 1, 1), Relu()]),
        ("too large a weight", [convolution(8, 3, 3)[0], Affine(*np.full((2, 8), 3e38, np.float32)), Relu()]),
    ],
)  # fmt: skip
def test_layers_that_are_not_known_are_refused(name: str, layers: list[Layer]):
    with pytest.raises(BrokenFile):
        build(network(12, *layers, last=8))
