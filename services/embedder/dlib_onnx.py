"""dlib's ResNet as an ONNX graph, made once from its `.dat` file and kept in a cache folder.

The graph takes float32 (n, rows, columns, 3) BGR pixels, 0 to 255, and gives float32 (n, 128), as dlib's
`face_recognition_model_v1.compute_face_descriptor` does for RGB chips of that size. Affine layers, and the input's
(pixel - mean) / 256 and channel order, are folded into the convolutions: exact but for rounding, since the first
convolution has no padding.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.common.errors import ModelUnavailable
from services.common.files import write_whole
from services.embedder.dlib_dat import (
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

#: Goes into the cached file's name: raise it when the graph built from the same file changes.
GRAPH_REVISION = 2
MAX_CHANNELS = 4096


def cached_onnx(dat: Path, cache: Path) -> Path:
    """The ONNX file made of a `.dat` file, built if the cache does not hold it. Safe for several processes at once.

    Raises:
        ModelUnavailable: the file cannot be read or is broken, or the cache cannot be written.
    """
    try:
        data = dat.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        path = cache / f"dlib-{digest[:32]}-r{GRAPH_REVISION}.onnx"
        if not path.is_file():
            write_whole(path, build_onnx(read_network(data)))
    except OSError as error:
        raise ModelUnavailable(f"{dat} could not be made into an ONNX network in {cache}: {error}") from error
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{dat}: {error}") from error
    return path


def build_onnx(network: Network) -> bytes:
    """An ONNX file's bytes. Input "pixels", output "template"; the number of faces is free.

    Raises:
        ModelUnavailable: the layers do not fit each other.
    """
    builder = _GraphBuilder(network)
    for position, layer in enumerate(network.layers):
        following = network.layers[position + 1] if position + 1 < len(network.layers) else None
        builder.add(layer, following)
    return builder.finish()


def _fold_affines(convolution: Convolution, affine: Affine) -> Convolution:
    gamma = affine.gamma.astype(np.float64)
    _require(len(gamma) == len(convolution.bias), "an affine layer does not fit its convolution")
    weights = convolution.weights * gamma[:, None, None, None]
    bias = convolution.bias * gamma + affine.beta
    return Convolution(weights, bias, convolution.stride, convolution.padding)


def _fold_input(convolution: Convolution, mean: tuple[float, float, float]) -> Convolution:
    """Makes a convolution over (rgb - mean) / 256 into one over BGR pixels."""
    _require(convolution.weights.shape[1] == 3 and convolution.padding == (0, 0), "the first layer is not as known")
    weights = convolution.weights.astype(np.float64) / 256
    bias = convolution.bias - np.einsum("fcyx,c->f", weights, np.asarray(mean))
    return Convolution(weights[:, ::-1], bias, convolution.stride, convolution.padding)


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise ModelUnavailable(f"the dlib network cannot be built: {complaint}")


class _GraphBuilder:
    """Adds layer after layer; knows the current value's name and its (channels, rows, columns)."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._pending: Convolution | None = None
        self._shape = (3, *network.size)
        self._value = self._node("Transpose", ["pixels"], perm=[0, 3, 1, 2])
        self._block = (self._value, self._shape)  # the input of the residual block
        self._summand: tuple[str, tuple[int, int, int]] | None = None  # the block's output, while its input is pooled

    def add(self, layer: Layer, following: Layer | None) -> None:
        if isinstance(layer, Convolution):
            _require(isinstance(following, Affine), "a convolution without its affine layer")
            self._pending = layer
        elif isinstance(layer, Affine):
            self._add_convolution(layer)
        elif isinstance(layer, Pooling):
            self._add_pooling(layer, down=isinstance(following, AddSkipped))
        elif isinstance(layer, AddSkipped):
            self._add_skipped()
        elif isinstance(layer, Relu):
            self._value = self._node("Relu", [self._value])
            if self._nodes[-2].op_type == "Add":  # a sum's ReLU ends one residual block and begins the next
                self._block = (self._value, self._shape)
        elif isinstance(layer, Dense):
            self._add_dense(layer)

    def _add_convolution(self, affine: Affine) -> None:
        _require(self._pending is not None, "an affine layer without its convolution")
        first = all(node.op_type != "Conv" for node in self._nodes)
        layer = _fold_affines(_fold_input(self._pending, self._network.mean) if first else self._pending, affine)
        self._pending = None
        filters, channels, rows, columns = layer.weights.shape
        _require(channels == self._shape[0] and filters <= MAX_CHANNELS, "a convolution does not fit its input")
        self._shape = (filters, *self._slide((rows, columns), layer.stride, layer.padding))
        parameters = [self._constant(layer.weights), self._constant(layer.bias)]
        pads = [layer.padding[0], layer.padding[1]] * 2
        self._value = self._node("Conv", [self._value, *parameters], strides=list(layer.stride), pads=pads)

    def _add_pooling(self, layer: Pooling, down: bool) -> None:
        """`down`: the pooling of a block's input, which is then added to the block's output."""
        if down:
            self._summand = (self._value, self._shape)
            self._value, self._shape = self._block
        channels, *whole = self._shape
        window = layer.window if layer.window != (0, 0) else tuple(whole)
        self._shape = (channels, *self._slide(window, layer.stride, layer.padding))
        operation = "MaxPool" if layer.kind == "max" else "AveragePool"
        self._value = self._node(operation, [self._value], kernel_shape=list(window), strides=list(layer.stride))
        if not down:
            self._block = (self._value, self._shape)

    def _slide(self, window: tuple, stride: tuple, padding: tuple) -> tuple[int, int]:
        sizes = zip(self._shape[1:], window, stride, padding, strict=True)
        rows, columns = ((size + 2 * pad - width) // step + 1 for size, width, step, pad in sizes)
        _require(0 < rows <= 4096 and 0 < columns <= 4096, "a window is larger than its input")
        return rows, columns

    def _add_skipped(self) -> None:
        """Adds two values; where one is smaller, zeros are put at its bottom, right and last channels, as dlib does."""
        mine, other = (self._value, self._shape), self._summand or self._block
        self._summand = None
        self._shape = tuple(max(pair) for pair in zip(mine[1], other[1], strict=True))
        self._value = self._node("Add", [self._padded(*mine), self._padded(*other)])

    def _padded(self, value: str, shape: tuple[int, int, int]) -> str:
        """Zeros put at bottom, right and last channels, as a convolution of one pixel: ONNX Runtime then keeps its own
        layout from here to the end and adds up within its convolutions, which its Pad would break up.
        """
        channels, rows, columns = (whole - part for whole, part in zip(self._shape, shape, strict=True))
        if channels:
            copy = np.eye(self._shape[0], shape[0])[:, :, None, None]
            value = self._node("Conv", [value, self._constant(copy)], pads=[0, 0, rows, columns])
        elif rows or columns:
            copy = np.ones((shape[0], 1, 1, 1))
            value = self._node("Conv", [value, self._constant(copy)], pads=[0, 0, rows, columns], group=shape[0])
        return value

    def _add_dense(self, layer: Dense) -> None:
        _require(layer.weights.shape[0] == int(np.prod(self._shape)), "the dense layer does not fit its input")
        flat = self._node("Flatten", [self._value], axis=1)
        self._value = self._node("MatMul", [flat, self._constant(layer.weights)])
        self._shape = (layer.weights.shape[1], 1, 1)

    def _constant(self, values: np.ndarray) -> str:
        _require(bool((np.abs(values) < np.finfo(np.float32).max).all()), "a weight is too large")
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def _node(self, operation: str, inputs: list[str], **attributes) -> str:
        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def finish(self) -> bytes:
        _require(self._nodes[-1].op_type == "MatMul", "the last layer is not the dense one")
        self._nodes[-1].output[0] = "template"
        pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", *self._network.size, 3])
        template = helper.make_tensor_value_info("template", TensorProto.FLOAT, ["n", self._shape[0]])
        graph = helper.make_graph(self._nodes, "dlib_face_recognition_resnet_v1", [pixels], [template], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="reco")
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model.SerializeToString()
