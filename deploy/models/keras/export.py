"""Converts a Keras network to ONNX. A script for the Python of `.venv-convert`; the workshop runs it as a subprocess.

    .venv-convert/bin/python -m deploy.models.keras.export ArcFace arcface_weights.h5 cache/arcface.onnx
    .venv-convert/bin/python -m deploy.models.keras.export - liveness_best.h5 cache/liveness.onnx

The first builds the network with deepface's own code and reads its weights from the file; the second reads a whole
Keras model, which must hold no code (Lambda layers). Nothing is written unless both
networks agree. TensorFlow's graph is converted without its weights, which are put back afterwards: tf2onnx copies a graph
dozens of times (VGG-Face: 18 GB with its weights, 2 without).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.models.keras.networks import BUILDERS, ExportError, KerasModel, read, read_exactly, without_local_loops

if TYPE_CHECKING:  # else imported where it is needed: after `quieten`
    import numpy as np
    import onnx

#: Largest 1 - cos between the outputs of both networks.
TOLERANCE = 1e-5
OPSET = 17


def main() -> int:
    """Converts; returns 1, and says why on stderr, where that is not possible."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", choices=[*BUILDERS, "-"], help="deepface's name; - for a file with a whole model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("target", type=Path, help="the .onnx file")
    options = parser.parse_args()
    quieten()
    try:
        difference = export(options.network, options.weights, options.target)
    except (ExportError, OSError, ValueError, TypeError, KeyError, RuntimeError, NotImplementedError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"agrees with Keras to {difference:.1e}")
    return 0


def quieten() -> None:
    """Settings that TensorFlow and deepface read when they are imported: Keras 2, processor only, few words."""
    os.environ.update(
        TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0"
    )


def export(network: str, weights: Path, target: Path) -> float:
    """Writes a Keras model of one picture input and one output as ONNX: (n, height, width, channels) to (n, …).

    Args:
        network, weights: see deploy.models.keras.networks.read.

    Returns:
        The largest 1 - cos between outputs of both over a few random pictures.

    Raises:
        ExportError: they do not agree, or there is something in the model that cannot be converted.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        written = Path(folder) / target.name
        model = read(network, weights)
        onnx.save(_convert(model), written)
        onnx.checker.check_model(written)
        pictures, results = _try_out(written)
        difference = least_difference(
            results,
            lambda: model(pictures, training=False),
            # Takes longer and twice the memory, so it is asked only where float32 may be to blame.
            lambda: read_exactly(network, weights)(pictures, training=False),
        )
        if not difference < TOLERANCE:
            raise ExportError(f"the converted network differs from Keras by {difference:.1e}")
        written.replace(target)
    return difference


def _convert(model: KerasModel) -> "onnx.ModelProto":
    """An ONNX model with all its weights in it."""
    import tensorflow as tf
    import tf2onnx

    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.input_shape) != 4:
        raise ExportError("the network does not take one picture and give one result")
    network = without_local_loops(model)
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="pixels")
    function = tf.function(lambda pixels: network(pixels, training=False)).get_concrete_function(signature)
    graph = function.graph.as_graph_def()
    weights = _hollow(graph, function)
    result = function.outputs[0].name
    converted: tuple[onnx.ModelProto, Any] = tf2onnx.convert.from_graph_def(
        graph, input_names=["pixels:0", *weights], output_names=[result], opset=OPSET
    )
    _fill(converted[0], weights)
    return converted[0]


def _hollow(graph: Any, function: Any) -> dict[str, "np.ndarray"]:
    """Makes plain inputs of the graph's variables; returns their values by input name."""
    from tensorflow import dtypes

    nodes = {node.name: node for node in graph.node}
    weights = {}
    for value, placeholder in zip(function.captured_inputs, function.graph.internal_captures, strict=True):
        variable = next((v for v in function.variables if v.handle is value), None)
        node = nodes[placeholder.op.name]
        if variable is None:
            raise ExportError("the network holds something that is neither a layer nor a weight")
        array = variable.numpy()
        node.attr["dtype"].type = dtypes.as_dtype(array.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
        node.attr.pop("_handle_dtypes", None)
        weights[placeholder.name] = array
    for node in graph.node:
        if node.op == "ReadVariableOp":
            kind = node.attr["dtype"].type
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = kind
    return weights


def _fill(model: "onnx.ModelProto", weights: dict[str, "np.ndarray"]) -> None:
    """Puts the weights back as constants of the ONNX graph, and does at once what the graph would do to them alone."""
    import numpy as np
    from onnx import numpy_helper

    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == 7}
    known, nodes = dict(weights), []
    for node in model.graph.node:
        source = known.get(node.input[0]) if node.input else None
        if source is not None and node.op_type == "Transpose":
            known[node.output[0]] = source.transpose(node.attribute[0].ints)
        elif source is not None and node.op_type == "Reshape" and node.input[1] in shapes:
            known[node.output[0]] = source.reshape(shapes[node.input[1]])
        elif source is not None and node.op_type == "Identity":
            known[node.output[0]] = source
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    pictures = [value for value in model.graph.input if value.name not in weights]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(pictures)
    for name in known.keys() & used:
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(known[name]), name))
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)


def _try_out(path: Path) -> tuple["np.ndarray", tuple["np.ndarray", "np.ndarray"]]:
    """(pictures of small and of large numbers, (what ONNX Runtime gives for them together, and singly))"""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    random = np.random.default_rng(2)
    ranges = ((-1, 1), (0, 1), (0, 255))
    pictures = np.stack([random.uniform(low, high, pixels.shape[1:]) for low, high in ranges]).astype("float32")
    together = session.run(None, {pixels.name: pictures})[0]
    singly = np.concatenate([session.run(None, {pixels.name: picture[None]})[0] for picture in pictures])
    return pictures, (together, singly)


def least_difference(results: Sequence["np.ndarray"], *references: Callable[[], Any]) -> float:
    """How far all results are from the first reference that they agree with; where there is none, from the nearest.

    Args:
        results: arrays (n, …), all of the same pictures.
        references: functions that calculate what each result should be; one is called only if those before it differ.
    """
    least = float("inf")
    for reference in references:
        expected = reference()
        least = min(least, max(cosine_difference(expected, result) for result in results))
        if least < TOLERANCE:
            break
    return least


def cosine_difference(one: Any, other: Any) -> float:
    """The largest 1 - cos between rows; for single numbers, whose cosine says nothing, their largest difference."""
    import numpy as np

    one, other = (np.asarray(rows, "float64").reshape(len(rows), -1) for rows in (one, other))
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    if one.shape[1] == 1:
        return float(np.abs(one - other).max())
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    same = (one * other).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    return float(np.where(lengths == 0, np.abs(one - other).max(axis=1), 1 - same).max())


if __name__ == "__main__":
    sys.exit(main())
