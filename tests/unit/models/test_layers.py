"""Networks given layer by layer, as ONNX models, against the same layers written out; and read from ONNX files."""

import numpy as np
import onnx
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

from deploy.models.formats import BrokenFile
from deploy.models.formats.onnx_layers import read_layers
from deploy.models.networks.graph import Filters
from deploy.models.networks.layers import Layer, Layers, build
from services.common.onnx import open_session

RANDOM = np.random.default_rng(5)
SIDE = 9
HALF = {"stride": (2, 2), "pads": (0, 0, 1, 1)}


def filters(count, channels, side, **more) -> Filters:
    depthwise = channels == 0
    kernel = RANDOM.normal(scale=1 / side, size=(count, channels or 1, side, side)) / np.sqrt(channels or 1)
    return Filters(kernel, RANDOM.normal(size=count), depthwise=depthwise, **more)


def made_up(slopes: tuple[float, float]) -> Layers:
    """Stem, two convolutions of one pixel that make one, a block that is added to its input, one number a channel."""

    def prelu(channels):
        return RANDOM.uniform(*slopes, channels)

    return Layers(
        "x",
        SIDE,
        (
            Layer("a", ("x",), filters(16, 3, 3, **HALF)),
            Layer("b", ("a",), prelu(16)),
            Layer("c", ("b",), filters(8, 16, 1)),
            Layer("d", ("c",), filters(32, 8, 1)),
            Layer("e", ("d",), filters(5, 32, 1)),
            Layer("f", ("e",), prelu(5)),
            Layer("g", ("f",), filters(5, 0, 3, pads=(1, 1, 1, 1))),
            Layer("h", ("g",), prelu(5)),
            Layer("i", ("f", "h"), "Add"),  # a PReLU's value is summed, and taken by a convolution
            Layer("j", ("i",), filters(7, 5, 1)),
            Layer("k", ("j",), prelu(7)),
            Layer("l", ("k",), filters(4, 7, 4)),
        ),
    )


def squeezing() -> Layers:
    """A block whose channels are weighed, and a linear head."""
    return Layers(
        "x",
        SIDE,
        (
            Layer("a", ("x",), filters(13, 3, 3, **HALF)),
            Layer("b", ("a",), RANDOM.uniform(-1, 2, 13)),
            Layer("c", ("b",), "GlobalAveragePool"),
            Layer("d", ("c",), filters(4, 13, 1)),
            Layer("e", ("d",), "Relu"),
            Layer("f", ("e",), filters(13, 4, 1)),
            Layer("g", ("f",), "Sigmoid"),
            Layer("h", ("b", "g"), "Mul"),
            Layer("i", ("h",), filters(13, 0, 4)),
            Layer("j", ("i",), filters(3, 13, 1)),
        ),
    )


def expected(network: Layers, pixels: np.ndarray) -> np.ndarray:
    """In float64, of (n, side, side, 3)."""
    values = {network.source: pixels.astype(np.float64).transpose(0, 3, 1, 2)}
    for layer in network.layers:
        first, *rest = (values[name] for name in layer.inputs)
        match layer.does:
            case Filters(kernel=kernel, stride=(down, right)) as does:
                top, left, bottom, after = does.pads
                framed = np.pad(first, [(0, 0), (0, 0), (top, bottom), (left, after)])
                windows = sliding_window_view(framed, kernel.shape[2:], (2, 3))[:, :, ::down, ::right]
                sums = "ncyxij,cij->ncyx" if does.depthwise else "ncyxij,fcij->nfyx"
                mixed = np.einsum(sums, windows, kernel[:, 0] if does.depthwise else kernel, optimize=True)
                result = mixed + does.bias[:, None, None]
            case np.ndarray() as slopes:
                result = np.where(first > 0, first, first * slopes[:, None, None])
            case "Add":
                result = first + rest[0]
            case "Mul":
                result = first * rest[0]
            case "Relu":
                result = np.maximum(first, 0)
            case "Sigmoid":
                result = 1 / (1 + np.exp(-first))
            case _:
                result = first.mean(axis=(2, 3), keepdims=True)
        values[layer.output] = result
    return result[:, :, 0, 0]


@pytest.mark.parametrize("slopes", [(-1, 1), (0, 0.5), (0.5, 2), (1.5, 2)])
def test_models_compute_what_the_layers_say(slopes):
    network = made_up(slopes)
    session = open_session(build(network, "made up").SerializeToString())
    for count in (1, 3):
        pixels = RANDOM.normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)
        (templates,) = session.run(["template"], {"pixels": pixels})
        assert templates.dtype == np.float32
        np.testing.assert_allclose(templates, expected(network, pixels), atol=2e-5)


def test_classes_are_probabilities_of_what_the_layers_say():
    network = squeezing()
    pixels = RANDOM.normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    (given,) = open_session(build(network, "made up", classes=True).SerializeToString()).run(None, {"pixels": pixels})
    powers = np.exp(expected(network, pixels))
    np.testing.assert_allclose(given, powers / powers.sum(axis=1, keepdims=True), atol=2e-5)


def test_two_convolutions_that_make_one_are_one():
    network = made_up((0, 1))
    kernels = [list(one.dims) for one in build(network, "made up").graph.initializer]
    assert [8, 16, 1, 1] in kernels and [5, 8, 1, 1] in kernels  # c, and what d and e make


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("no layers", []),
        ("a PReLU last", [Layer("a", ("x",), filters(4, 3, 9)), Layer("b", ("a",), np.ones(4))]),
        ("a PReLU first", [Layer("a", ("x",), np.ones(3)), Layer("b", ("a",), filters(4, 3, 9))]),
        ("other channels", [Layer("a", ("x",), filters(4, 5, 3)), Layer("b", ("a",), filters(4, 4, 7))]),
        ("slopes of others", [Layer("a", ("x",), filters(4, 3, 3)), Layer("b", ("a",), np.ones(5)),
                              Layer("c", ("b",), filters(4, 4, 7))]),
        ("a window that is too large", [Layer("a", ("x",), filters(4, 3, 10)), Layer("b", ("a",), filters(4, 4, 1))]),
        ("places left", [Layer("a", ("x",), filters(4, 3, 3)), Layer("b", ("a",), filters(4, 4, 6))]),
        ("a value from nowhere", [Layer("a", ("y",), filters(4, 3, 3)), Layer("b", ("a",), filters(4, 4, 7))]),
        ("a sum of unlike values", [Layer("a", ("x",), filters(4, 3, 3)), Layer("b", ("a",), filters(4, 4, 3)),
                                    Layer("c", ("a", "b"), "Add"), Layer("d", ("c",), filters(4, 4, 5))]),
        ("a product of unlike values", [Layer("a", ("x",), filters(4, 3, 3)), Layer("b", ("a",), filters(4, 4, 3)),
                                        Layer("c", ("a", "b"), "Mul"), Layer("d", ("c",), filters(4, 4, 7))]),
        ("an unknown step", [Layer("a", ("x",), filters(4, 3, 3)), Layer("b", ("a",), "Sin"),
                             Layer("c", ("b",), filters(4, 4, 7))]),
        ("no number", [Layer("a", ("x",), filters(4, 3, 3)),
                       Layer("b", ("a",), Filters(np.full((4, 4, 7, 7), np.nan), np.zeros(4)))]),
        ("one layer", [Layer("a", ("x",), filters(4, 3, 9))]),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_are_refused(name, layers):
    with pytest.raises(BrokenFile):
        build(Layers("x", SIDE, tuple(layers)), "broken")


def onnx_file(network: Layers, batch=1, **changed) -> bytes:
    """A file of the kind that PyTorch writes: a batch that is fixed, PRelu, and a reshape at the end."""
    nodes, constants = [], []

    def constant(values):
        constants.append(numpy_helper.from_array(values, f"w{len(constants)}"))
        return constants[-1].name

    for layer in network.layers:
        match layer.does:
            case Filters() as does:
                weights = [constant(does.kernel.astype(np.float32)), constant(does.bias.astype(np.float32))]
                group = len(does.kernel) if does.depthwise else 1
                facts = {"strides": does.stride, "pads": does.pads, "group": group} | changed
                nodes.append(helper.make_node("Conv", [*layer.inputs, *weights], [layer.output], **facts))
            case np.ndarray() as slopes:
                slope = constant(slopes.astype(np.float32)[:, None, None])
                nodes.append(helper.make_node("PRelu", [*layer.inputs, slope], [layer.output]))
            case str() as operator:
                nodes.append(helper.make_node(operator, layer.inputs, [layer.output]))
    sizes = constant(np.array([batch, -1]))
    nodes.append(helper.make_node("Reshape", [network.layers[-1].output, sizes], ["out"]))
    given = helper.make_tensor_value_info(network.source, TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
    gives = helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, None])
    graph = helper.make_graph(nodes, "net", [given], [gives], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_an_onnx_file_gives_the_same_for_any_batch():
    file = onnx_file(made_up((-1, 2)))
    pixels = RANDOM.normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    theirs = open_session(file)
    wanted = [theirs.run(None, {"x": one.transpose(2, 0, 1)[None]})[0][0] for one in pixels]
    (ours,) = open_session(build(read_layers(file), "net").SerializeToString()).run(None, {"pixels": pixels})
    np.testing.assert_allclose(ours, wanted, atol=2e-5)


def test_a_head_of_matrices_and_a_batch_norm():
    """As PyTorch writes a flattened, linear head, whose batch is worked out from the value's shape."""
    file = onnx.load_from_string(onnx_file(Layers("x", SIDE, (Layer("a", ("x",), filters(6, 3, 9)),))))
    del file.graph.node[-1]
    norm = [RANDOM.uniform(0.5, 2, 5).astype(np.float32) for _ in range(4)]
    weights = {"sizes": np.array([1, -1]), "first": RANDOM.normal(size=(6, 5)), "last": RANDOM.normal(size=(5, 2))}
    weights |= dict(zip("gbmv", norm, strict=True))
    for name, values in weights.items():
        kind = np.int64 if name == "sizes" else np.float32
        file.graph.initializer.append(numpy_helper.from_array(values.astype(kind), name))
    file.graph.node.extend(
        [
            helper.make_node("Shape", ["a"], ["not needed"]),
            helper.make_node("Reshape", ["a", "sizes"], ["flat"]),
            helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
            helper.make_node("BatchNormalization", ["hidden", *"gbmv"], ["normed"], epsilon=0.25),
            helper.make_node("MatMul", ["normed", "last"], ["out"]),
        ]
    )
    pixels = RANDOM.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    theirs = open_session(file.SerializeToString())
    wanted = [theirs.run(None, {"x": one.transpose(2, 0, 1)[None]})[0][0] for one in pixels]
    network = build(read_layers(file.SerializeToString()), "net")
    (ours,) = open_session(network.SerializeToString()).run(None, {"pixels": pixels})
    np.testing.assert_allclose(ours, wanted, atol=5e-5)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", b""),
        ("a web page", b"<!DOCTYPE html><html></html>"),
        ("a dilated convolution", onnx_file(made_up((0, 1)), dilations=(2, 2))),
        ("padding by name", onnx_file(made_up((0, 1)), auto_pad="SAME_UPPER")),
        ("an operator that is not known", onnx_file(Layers("x", SIDE, (Layer("a", ("x",), "Sin"),)))),
        ("a stride that is a word", onnx_file(made_up((0, 1)), strides="two")),
        ("no picture", onnx.ModelProto().SerializeToString()),
    ],
)
def test_other_onnx_files_are_refused(name, data):
    with pytest.raises(BrokenFile):
        read_layers(data)


def test_no_damaged_byte_of_an_onnx_file_causes_anything_but_broken_file():
    whole = onnx_file(made_up((0, 1)))
    for position in range(0, len(whole), 97):
        damaged = whole[:position] + bytes([(0, 0x0F, 0x81, 0xFF)[position % 4]]) + whole[position + 1 :]
        try:
            build(read_layers(damaged), "damaged")
        except BrokenFile as error:
            assert str(error)
