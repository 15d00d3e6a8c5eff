"""Tiny ONNX networks, and finished models made of them, for tests that need no real ones."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper

from services.common.models import FinishedModel, FinishedNetwork, record_path, to_record

Shape = Sequence[int | str | None]


def network(nodes: Sequence[NodeProto], given: Shape, gives: Shape) -> bytes:
    """A network from the input `pixels` to the output `out`, float32 both."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(given))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, list(gives))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def channel_means(shape: Shape = ("n", 12, 10, 3), axes: Sequence[int] = (1, 2)) -> bytes:
    """Gives the mean of each of three channels: (n, 3)."""
    return network([helper.make_node("ReduceMean", ["pixels"], ["out"], axes=axes, keepdims=0)], shape, [shape[0], 3])


def brightness_classes(side: int = 80) -> bytes:
    """Gives probabilities of three classes, the more of each the brighter its channel is: (n, 3)."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Softmax", ["means"], ["out"], axis=1),
    ]
    return network(nodes, ["n", side, side, 3], ["n", 3])


def put_model(folder: Path, name: str, networks: Mapping[str, bytes], maker: int = 0) -> FinishedModel:
    """Writes a finished model; each network counts as made of a weight file of the same content, `<network>.weights`."""
    folder.mkdir(parents=True, exist_ok=True)
    finished = {}
    for key, content in networks.items():
        (folder / f"{name}-{key}.onnx").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        finished[key] = FinishedNetwork(f"{name}-{key}.onnx", digest, f"{key}.weights", digest, maker)
    model = FinishedModel(name, folder, finished)
    record_path(folder, name).write_text(to_record(model))
    return model
