"""MiniFASNetV2 and MiniFASNetV1SE as ONNX graphs, built from their tensors alone.

Both are MobileFaceNets with other widths (Silent-Face-Anti-Spoofing, src/model_lib/MiniFASNet.py, Apache-2.0): a
convolution, a depthwise one, three stages that halve the picture, each with residual blocks after it, and a linear
head. Which blocks there are, how wide they are and which end in squeeze-and-excitation, the tensors' names and shapes
tell; what they do not tell (strides, paddings, the batch norms' epsilon) is written here.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.common.nchwc import filled

SIDE = 80
CLASSES = 3
OPSET = 17
IR_VERSION = 8
#: PyTorch's default, which the networks were trained with.
EPSILON = 1e-5
#: Blocks that halve the picture, each followed by its residual blocks.
STAGES = (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5"))


def build(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The network as an ONNX file.

    Args:
        tensors: the state dict; names may begin with "module.".

    Returns:
        A serialised model: input `crops` uint8 (N, 80, 80, 3) BGR, output `probabilities` float32 (N, 3).

    Raises:
        KeyError, ValueError: a tensor is missing or has another shape.
    """
    graph = _Graph({name.removeprefix("module."): value for name, value in tensors.items()})
    x = graph.add("Cast", "crops", to=TensorProto.FLOAT)
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.convolve(x, "conv1", stride=2, pad=1)
    x = graph.convolve(x, "conv2_dw", pad=1)
    for halving, residual in STAGES:
        x = graph.block(x, halving, stride=2)
        for name in graph.blocks_of(residual):
            x = graph.add("Add", x, graph.block(x, name, stride=1))
    x = graph.convolve(x, "conv_6_sep")
    x = graph.convolve(x, "conv_6_dw")
    x = graph.add("Flatten", x)
    x = graph.add("MatMul", x, graph.constant(graph.head()))
    x = graph.add("Add", x, graph.constant(graph.head_bias()))
    graph.add("Softmax", x, output="probabilities", axis=1)
    return graph.serialised()


class _Graph:
    """ONNX nodes in the making. Batch norms are folded into the convolutions before them."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def convolve(self, x: str, name: str, stride: int = 1, pad: int = 0) -> str:
        """Convolution, batch norm and, where it has slopes, PReLU. Depthwise where a filter sees one channel."""
        x = self._convolution(x, f"{name}.conv", f"{name}.bn", stride, pad)
        slopes = self._tensors.get(f"{name}.prelu.weight")
        return x if slopes is None else self._prelu(x, slopes)

    def block(self, x: str, name: str, stride: int) -> str:
        """Widen (1×1), filter each channel (3×3), narrow (1×1), and weigh the channels where the block does that."""
        x = self.convolve(x, f"{name}.conv")
        x = self.convolve(x, f"{name}.conv_dw", stride, pad=1)
        x = self.convolve(x, f"{name}.project")
        if f"{name}.se_module.fc1.weight" not in self._tensors:
            return x
        weights = self.add("GlobalAveragePool", x)
        weights = self.add("Relu", self._convolution(weights, f"{name}.se_module.fc1", f"{name}.se_module.bn1"))
        weights = self.add("Sigmoid", self._convolution(weights, f"{name}.se_module.fc2", f"{name}.se_module.bn2"))
        return self.add("Mul", x, weights)

    def blocks_of(self, name: str) -> list[str]:
        """`name.model.0`, `name.model.1`, … as many as there are."""
        count = sum(key.startswith(f"{name}.model.") and key.endswith(".project.conv.weight") for key in self._tensors)
        return [f"{name}.model.{index}" for index in range(count)]

    def head(self) -> np.ndarray:
        """float64 (512, 3): the linear layer, its batch norm and the classifier are linear, so they are one matrix."""
        scale, _ = self._norm("bn")
        linear = self._tensors["linear.weight"].astype(np.float64) * scale[:, None]
        return (self._tensors["prob.weight"].astype(np.float64) @ linear).T

    def head_bias(self) -> np.ndarray:
        _, shift = self._norm("bn")
        return self._tensors["prob.weight"].astype(np.float64) @ shift

    def serialised(self) -> bytes:
        crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
        probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", CLASSES])
        graph = helper.make_graph(self._nodes, "minifasnet", [crops], [probabilities], self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()

    def _convolution(self, x: str, filters: str, norm: str, stride: int = 1, pad: int = 0) -> str:
        weight = self._tensors[f"{filters}.weight"].astype(np.float64)
        scale, shift = self._norm(norm)
        attributes = {"strides": [stride] * 2, "pads": [pad] * 4}
        return self._linear(x, weight * scale[:, None, None, None], shift, **attributes)

    def _linear(self, x: str, weight: np.ndarray, *bias: np.ndarray, **attributes: object) -> str:
        """A convolution; depthwise where a filter sees one channel of several."""
        weight = filled(weight, 0, 1)
        if weight.shape[1] == 1:
            attributes["group"] = len(weight)
        return self.add(
            "Conv", x, self.constant(weight), *(self.constant(filled(one, 0)) for one in bias), **attributes
        )

    def _prelu(self, x: str, slopes: np.ndarray) -> str:
        """PReLU as slope·x + (1 - slope)·max(x, 0), the products being depthwise convolutions of one pixel: ONNX Runtime
        need not leave its layout for these (see nchwc.py), and its own PRelu takes longer than all convolutions.
        """
        slopes = slopes.astype(np.float64).reshape(-1, 1, 1, 1)
        both = self._linear(x, slopes)
        return self.add("Add", self._linear(self.add("Relu", x), 1 - slopes), both)

    def _norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A trained batch norm as y = scale·x + shift, float64."""
        mean, variance, gain, bias = (
            self._tensors[f"{name}.{part}"].astype(np.float64)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / np.sqrt(variance + EPSILON)
        return scale, bias - mean * scale
