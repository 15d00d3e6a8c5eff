"""MTCNN's networks: the weights of the PyPI package `mtcnn`, rebuilt as ONNX graphs once and kept in a cache folder.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016
(arXiv 1604.02878). Only the package's data files are read; neither it nor TensorFlow is imported.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.models.networks.nchwc import BLOCK, filled
from services.common.errors import ModelUnavailable
from services.common.files import write_whole

#: Part of the cached files' names; raise it when the graphs below change.
GRAPH_VERSION = 5


@dataclass(frozen=True)
class Pool:
    """Max pooling with stride 2; `same` pads at the right and bottom as TensorFlow's "same" does."""

    size: int
    same: bool


@dataclass(frozen=True)
class Convolution:
    """A valid convolution with stride 1, then a parametric ReLU with one slope a channel, then perhaps pooling."""

    pool: Pool | None = None


@dataclass(frozen=True)
class Maps:
    """P-Net's end: a convolution and a parametric ReLU, of which heads at every place make the output `maps`."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer, flattening what comes before it, then a parametric ReLU with one slope a unit."""


@dataclass(frozen=True)
class Network:
    """One of the three networks.

    All take float32 (n, height, width, 3), BGR, 0 to 255, and give, per window, `regression` (4: left, top, right,
    bottom, in fractions of the window), `landmarks` (10: five x, then five y; O-Net only) and `probability`
    (2: no face, face). P-Net gives `maps` (n, 6, rows, columns), for every place the logits of no face and face, and
    the regression.

    Attributes:
        name: the cached file's name begins with it.
        file: in the package's mtcnn/assets/weights.
        sha256: of that file, as in mtcnn 1.0.0.
        side: height and width of the input; None is any, 12 at least.
        body: layers in order.
        outputs: names, in the order of their weights.
    """

    name: str
    file: str
    sha256: str
    side: int | None
    body: tuple[Convolution | Dense | Maps, ...]
    outputs: tuple[str, ...]
    source: str = "PyPI package mtcnn 1.0.0"
    licence: str = "MIT"


PNET = Network(
    "mtcnn_pnet",
    "pnet.lz4",
    "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    None,
    (Convolution(Pool(2, True)), Convolution(), Maps()),
    ("maps",),
)
RNET = Network(
    "mtcnn_rnet",
    "rnet.lz4",
    "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    24,
    (Convolution(Pool(3, True)), Convolution(Pool(3, False)), Convolution(), Dense()),
    ("regression", "probability"),
)
ONET = Network(
    "mtcnn_onet",
    "onet.lz4",
    "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
    48,
    (
        Convolution(Pool(3, True)),
        Convolution(Pool(3, False)),
        Convolution(Pool(2, True)),
        Convolution(),
        Dense(),
    ),
    ("regression", "landmarks", "probability"),
)


@dataclass(frozen=True)
class NetworkFiles:
    """Paths of the three ONNX files."""

    pnet: Path
    rnet: Path
    onet: Path


def mtcnn_networks(cache: Path) -> NetworkFiles:
    """The ONNX files of MTCNN, built into `cache` where they are not there yet. Safe to call from several processes.

    Raises:
        ModelUnavailable: the package `mtcnn` is not installed, or its weight files are not those of version 1.0.0.
    """
    return NetworkFiles(*(_cached(network, cache) for network in (PNET, RNET, ONET)))


def _cached(network: Network, cache: Path) -> Path:
    target = cache / f"{network.name}_{network.sha256[:16]}_v{GRAPH_VERSION}.onnx"
    if not target.exists():
        write_whole(target, build_graph(network, read_weights(network)).SerializeToString())
    return target


def read_weights(network: Network) -> list[np.ndarray]:
    """The network's float32 arrays in TensorFlow's order and layouts (convolution: height, width, in, out).

    Raises:
        ModelUnavailable: see `mtcnn_networks`.
    """
    spec = importlib.util.find_spec("mtcnn")  # finds the folder, imports nothing
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable("the package `mtcnn`, which carries the face detector's weights, is not installed")
    path = Path(spec.submodule_search_locations[0]) / "assets" / "weights" / network.file
    if not path.is_file():
        raise ModelUnavailable(f"{path} is missing: install mtcnn 1.0.0 ({network.source})")
    if hashlib.sha256(path.read_bytes()).hexdigest() != network.sha256:  # a pickle inside: never load another one
        raise ModelUnavailable(f"{path} is not the file of mtcnn 1.0.0 ({network.source})")
    return joblib.load(path)


def build_graph(network: Network, weights: list[np.ndarray]) -> onnx.ModelProto:
    """The network as an ONNX model; see `Network` for its inputs and outputs."""
    graph = _GraphBuilder(list(weights))
    graph.add("Transpose", ["image"], perm=[0, 3, 1, 2])
    for index, layer in enumerate(network.body):
        graph.layer(layer, first=index == 0)
    for output in network.outputs:
        if output != "maps":
            graph.head(output)
    size = [network.side or "height", network.side or "width"]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *size, 3])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in network.outputs],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


class _GraphBuilder:
    """Appends layers to a chain of nodes, taking each one's arrays from the front of `weights`."""

    def __init__(self, weights: list[np.ndarray]):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._weights = weights
        self._last = ""
        self._signs = np.ones(3)  # by which the last convolution's channels, or the image's, are multiplied

    def add(self, operator: str, inputs: list[str], output: str = "", **attributes) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        self._last = output
        return output

    def layer(self, layer: Convolution | Dense | Maps, first: bool) -> None:
        if isinstance(layer, Dense):
            self.add("Flatten", [self._last])
            self._dense(self._last)
            self.add("PRelu", [self._last, self._constant(self._weights.pop(0))])
            return
        kernel, bias, slopes = (self._weights.pop(0).astype(np.float64) for _ in range(3))
        kernel, slopes = kernel * self._signs[:, None], slopes.ravel()
        self._signs = np.ones(len(slopes))
        if first:
            kernel, bias = _fold_normalisation(kernel, bias)
        if isinstance(layer, Maps):
            self._mapped_convolution(kernel, bias, slopes)
        elif layer.pool and len(slopes) + np.count_nonzero(slopes < 0) <= BLOCK:
            self._pooled_convolution(kernel, bias, slopes, layer.pool)
        else:
            self._rectified_convolution(kernel, bias, slopes)
            if layer.pool:
                self._add_pool(layer.pool)

    def _rectified_convolution(self, kernel: np.ndarray, bias: np.ndarray, slopes: np.ndarray) -> None:
        """Convolution and PReLU, written as slope * x + (1 - slope) * relu(x): ONNX Runtime's PRelu takes longer than
        all convolutions together, while these stay in the layout that its convolutions use (see nchwc.py). The sum is
        part of a convolution then, and so is relu((1 - slope) * x), which is the same where no slope is above 1.
        """
        x = self._add_convolution(self._last, kernel, bias)
        if slopes.max() <= 1:
            rectified = self.add("Relu", [self._scaled(x, 1 - slopes)])
        else:
            rectified = self._scaled(self.add("Relu", [x]), 1 - slopes)
        self.add("Add", [self._scaled(x, slopes), rectified])

    def _mapped_convolution(self, kernel: np.ndarray, bias: np.ndarray, slopes: np.ndarray) -> None:
        """Convolution and PReLU as above, whose factors go into the heads."""
        regression, regression_bias, logits, logits_bias = (self._weights.pop(0).astype(np.float64) for _ in range(4))
        heads, slopes = np.concatenate([logits, regression], axis=3), slopes[:, None]
        x = self._add_convolution(self._last, kernel, bias)
        linear = self._add_convolution(x, heads * slopes, np.concatenate([logits_bias, regression_bias]))
        rectified = self._add_convolution(self.add("Relu", [x]), heads * (1 - slopes))
        self.add("Add", [linear, rectified], "maps")

    def _pooled_convolution(self, kernel: np.ndarray, bias: np.ndarray, slopes: np.ndarray, pool: Pool) -> None:
        """Convolution, PReLU as above and max pooling, pooled first: PReLU then works on a quarter of the numbers.

        Where the slope is not negative PReLU keeps the order, and so may come after the pooling. Where it is, PReLU(x)
        is the larger of x and slope * x, whose maxima are those of x and, times -slope, of -x: these channels are
        pooled twice, which costs nothing as long as a block of channels holds them all. The larger of p and q is
        p + relu(q - p), so that all is `linear` + relu(`rectified`). Where a slope is above 1 that is PReLU's negative.
        """
        falling = np.flatnonzero(slopes < 0)
        kernel = np.concatenate([kernel, -kernel[..., falling]], axis=3)
        self._add_convolution(self._last, kernel, np.concatenate([bias, -bias[falling]]))
        pooled = self._add_pool(pool)
        self._signs = np.where(slopes > 1, -1, 1)
        mirrored = np.zeros((len(falling), len(slopes)))
        mirrored[np.arange(len(falling)), falling] = -slopes[falling]
        linear = np.concatenate([np.diag(self._signs * slopes.clip(0)), mirrored])
        rectified = np.concatenate([np.diag(abs(1 - slopes.clip(0))), -mirrored])
        self._add_convolution(pooled, rectified[None, None])
        above = self.add("Relu", [self._last])
        self.add("Add", [self._add_convolution(pooled, linear[None, None]), above])

    def _scaled(self, source: str, factors: np.ndarray) -> str:
        """Each channel times a factor, as a convolution of one pixel and channel."""
        factors = filled(factors, 0)
        return self.add("Conv", [source, self._constant(factors[:, None, None, None])], group=len(factors))

    def head(self, name: str) -> None:
        """An output: a linear map of the body's last features, and softmax where it is the probability."""
        features = self._last
        linear = self._dense(features, "" if name == "probability" else name)
        if name == "probability":
            self.add("Softmax", [linear], name, axis=1)
        self._last = features

    def _add_convolution(self, source: str, kernel: np.ndarray, *bias: np.ndarray) -> str:
        kernel = filled(kernel.transpose(3, 2, 0, 1), 0, 1)
        return self.add("Conv", [source, self._constant(kernel), *(self._constant(filled(one, 0)) for one in bias)])

    def _add_pool(self, pool: Pool) -> str:
        size, padding = [pool.size] * 2, "SAME_UPPER" if pool.same else "VALID"
        return self.add("MaxPool", [self._last], kernel_shape=size, strides=[2, 2], auto_pad=padding)

    def _dense(self, source: str, output: str = "") -> str:
        matrix, bias = self._weights.pop(0), self._weights.pop(0)
        if self.nodes[-1].op_type == "Flatten":
            matrix = _channels_first_rows(matrix, self._signs)
        return self.add("Gemm", [source, self._constant(matrix), self._constant(bias)], output)

    def _constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name


def _fold_normalisation(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes a convolution over RGB values (v - 127.5) / 128 into one over BGR values v; exact, as nothing is padded."""
    scaled = kernel.astype(np.float64)[:, :, ::-1, :] / 128
    return scaled, bias - 127.5 * scaled.sum(axis=(0, 1, 2))


def _channels_first_rows(matrix: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Reorders rows meant for features flattened as (width, height, channel) to (channel, height, width), and multiplies
    each channel's by its sign.
    """
    side = round((matrix.shape[0] / len(signs)) ** 0.5)
    rows = matrix.reshape(side, side, len(signs), -1) * signs[:, None]
    return rows.transpose(2, 1, 0, 3).reshape(matrix.shape)
