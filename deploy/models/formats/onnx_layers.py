"""Reads networks of convolutions, PReLU and sums from ONNX files that fix their batch or are slow as they are."""

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, NodeProto, helper, numpy_helper

from deploy.models.formats import BrokenFile
from deploy.models.networks.graph import Filters
from deploy.models.networks.layers import Layer, Layers

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
    nodes = list(graph.node)
    if nodes and nodes[-1].op_type in ("Reshape", "Flatten"):  # only takes the last two sizes, of 1, away
        nodes.pop()
    return Layers(inputs[0].name, sizes[2], tuple(_layer(node, constants) for node in nodes))


def _layer(node: NodeProto, constants: dict[str, np.ndarray]) -> Layer:
    values = tuple(name for name in node.input if name not in constants)
    weights = [constants[name] for name in node.input if name in constants]
    match node.op_type, len(values), len(weights):
        case "Conv", 1, 2:
            return Layer(node.output[0], values, _filters(node, *weights))
        case "PRelu", 1, 1:
            return Layer(node.output[0], values, weights[0].ravel())
        case "Add", 2, 0:
            return Layer(node.output[0], values, "Add")
    raise BrokenFile(f"it has a node {node.op_type} that is not known here")


def _filters(node: NodeProto, kernel: np.ndarray, bias: np.ndarray) -> Filters:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    rows, columns = attributes.get("strides", (1, 1))
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    group = attributes.get("group", 1)
    plain = attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and set(attributes.get("dilations", (1,))) == {1}
    if not plain or kernel.ndim != 4 or group not in (1, len(kernel)):
        raise BrokenFile("a convolution is of a kind that is not known here")
    return Filters(kernel, bias, (rows, columns), (top, left, bottom, right), depthwise=group != 1)
