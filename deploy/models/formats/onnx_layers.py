"""Reads networks of convolutions from ONNX files that fix their batch or are slow as they are."""

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, NodeProto, helper, numpy_helper

from deploy.models.formats import BrokenFile
from deploy.models.networks.graph import Filters
from deploy.models.networks.layers import Layer, Layers

#: Nodes that only work out what size to reshape to.
SIZES = ("Shape", "Constant", "Gather", "Unsqueeze", "Concat")
#: What reading raises where a file is damaged.
UNREADABLE = (DecodeError, LookupError, OverflowError, TypeError, ValueError)


def read_layers(data: bytes) -> Layers:
    """The network in a file whose input is (batch, 3, side, side).

    Args:
        data: the whole file.

    Returns:
        Its layers. Kernels and slopes are float64.

    Raises:
        BrokenFile: it is no such file, or holds something else than such a network.
    """
    try:
        return _read(onnx.load_from_string(data).graph)
    except UNREADABLE as error:
        raise BrokenFile(f"it cannot be read: {error}") from error


def _read(graph: GraphProto) -> Layers:
    with np.errstate(invalid="ignore"):  # what is no number is refused when the network is built
        constants = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
    inputs = [given for given in graph.input if given.name not in constants]
    sizes = [size.dim_value for size in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(sizes) != 4 or sizes[1] != 3 or sizes[2] != sizes[3]:
        raise BrokenFile("its input is no square picture of three channels")
    layers: list[Layer] = []
    same: dict[str, str] = {}  # by a value that is reshaped, what it was before
    for node in graph.node:
        if node.op_type in ("Reshape", "Flatten"):  # only takes the last two sizes, of 1, away
            same[node.output[0]] = same.get(node.input[0], node.input[0])
        elif node.op_type not in SIZES:
            layers.append(_layer(node, constants, same))
    return Layers(inputs[0].name, sizes[2], tuple(layers))


def _layer(node: NodeProto, constants: dict[str, np.ndarray], same: dict[str, str]) -> Layer:
    values = tuple(same.get(name, name) for name in node.input if name not in constants)
    weights = [constants[name] for name in node.input if name in constants]
    match node.op_type, len(values), len(weights):
        case "Conv", 1, 2:
            return Layer(node.output[0], values, _filters(node, *weights))
        case "PRelu", 1, 1:
            return Layer(node.output[0], values, weights[0].ravel())
        case ("Add" | "Mul", 2, 0) | ("Relu" | "Sigmoid" | "GlobalAveragePool", 1, 0):
            return Layer(node.output[0], values, node.op_type)
        case "MatMul", 1, 1:
            kernel = weights[0].T[:, :, None, None]
            return Layer(node.output[0], values, Filters(kernel, np.zeros(len(kernel))))
        case "BatchNormalization", 1, 4:
            return Layer(node.output[0], values, _norm(node, *weights))
    raise BrokenFile(f"it has a node {node.op_type} that is not known here")


def _norm(node: NodeProto, gain: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Filters:
    """A trained batch norm as a convolution of one pixel."""
    epsilon = {one.name: helper.get_attribute_value(one) for one in node.attribute}.get("epsilon", 1e-5)
    if not variance.size or variance.min() < 0:
        raise BrokenFile("a variance is below zero")
    scale = gain / np.sqrt(variance + epsilon)
    return Filters(scale.reshape(-1, 1, 1, 1), bias - mean * scale, depthwise=True)


def _filters(node: NodeProto, kernel: np.ndarray, bias: np.ndarray) -> Filters:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    rows, columns = attributes.get("strides", (1, 1))
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    group = attributes.get("group", 1)
    plain = attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and set(attributes.get("dilations", (1,))) == {1}
    if not plain or kernel.ndim != 4 or group not in (1, len(kernel)):
        raise BrokenFile("a convolution is of a kind that is not known here")
    return Filters(kernel, bias, (rows, columns), (top, left, bottom, right), depthwise=group != 1)
