"""Keras networks, built by deepface's code or read from a file. Only `.venv-convert` has the TensorFlow it needs."""

import importlib
import json
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: deepface's module and function that build each network and give its embedding layer.
BUILDERS = {
    "VGG-Face": ("VGGFace", "load_model"),
    "Facenet": ("Facenet", "load_facenet128d_model"),
    "Facenet512": ("Facenet", "load_facenet512d_model"),
    "OpenFace": ("OpenFace", "load_model"),
    "DeepFace": ("FbDeepFace", "load_model"),
    "DeepID": ("DeepID", "load_model"),
    "ArcFace": ("ArcFace", "load_model"),
    "GhostFaceNet": ("GhostFaceNet", "load_model"),
}


#: TensorFlow is not installed where types are checked, so its own are any.
KerasModel = Any
KerasLayer = Any

#: TensorFlow's functions that a model's file may call: they compute, and reach for no file.
ARITHMETIC = ("math.", "nn.", "__operators__.", "cast", "reshape", "concat")


class ExportError(Exception):
    """The network cannot be converted; the text says why."""


def read(network: str, weights: Path, precision: str = "float32") -> KerasModel:
    """A Keras network with the weights of a file.

    Args:
        network: see `build`; "-" for a file that holds a whole model.
        precision: of weights and arithmetic, "float32" or "float64".
    """
    import tf_keras

    tf_keras.backend.clear_session()
    tf_keras.backend.set_floatx(precision)
    return load_whole(weights, precision) if network == "-" else build(network, weights)


def read_exactly(network: str, weights: Path) -> KerasModel:
    """As `read`, in float64 where TensorFlow can: what the network gives then is a yardstick.

    In float32 it is none: GhostFaceNet with random weights, one of five faces, fed singly, was 5.6e-4 (1 - cos) from its
    own float64 result, and 4e-11 fed as a batch. Why it is so fed singly was not found out.
    """
    try:
        return read(network, weights, "float64")
    except TypeError:  # says that an operation has float32 only, as OpenFace's local response normalisation
        return read(network, weights)


def build(network: str, weights: Path | None = None) -> KerasModel:
    """deepface's Keras network up to its embedding, with the weights of a file.

    Args:
        network: a key of BUILDERS.
        weights: an .h5 file as deepface publishes it, or a .zip that holds one; None leaves the weights random.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = weights and _unzipped(weights, Path(folder))
        return call_builder(network, lambda whole: whole.load_weights(str(file)) if file else None)


def load_whole(path: Path, precision: str = "float32") -> KerasModel:
    """A Keras model from an .h5 file that holds no code; in that precision, whatever the file says.

    Raises:
        ExportError: it holds a Lambda layer, or calls a TensorFlow function that is not plain arithmetic.
    """
    import h5py
    import tf_keras

    with h5py.File(path) as file:
        config = file.attrs.get("model_config")
    if config is None:
        raise ExportError(f"{path.name} holds no whole Keras model, only weights")
    description = json.loads(config)
    code = sorted(_code_in(description))
    if code:
        raise ExportError(f"{path.name} holds code that may do anything ({', '.join(code)}); it is not run")
    model = tf_keras.models.model_from_json(json.dumps(_in_precision(description, precision)))
    model.load_weights(path)
    return model


def _in_precision(config: Any, precision: str) -> Any:
    """A model's description (parsed JSON) with every floating-point type and policy replaced."""
    if isinstance(config, list):
        return [_in_precision(part, precision) for part in config]
    if not isinstance(config, dict):
        return config
    changed = {key: _in_precision(value, precision) for key, value in config.items()}
    kind = changed.get("dtype")
    if isinstance(kind, dict) or (isinstance(kind, str) and "float" in kind):
        changed["dtype"] = precision
    return changed


def _code_in(config: Any) -> set[str]:
    """Names of what runs code in a model's description (parsed JSON)."""
    if isinstance(config, list):
        return set().union(*map(_code_in, config))
    if not isinstance(config, dict):
        return set()
    found = set().union(*map(_code_in, config.values()))
    if config.get("class_name") == "Lambda":
        found.add("a Lambda layer")
    if config.get("class_name") == "TFOpLambda":
        function = str(config.get("config", {}).get("function"))
        if not function.startswith(ARITHMETIC):
            found.add(f"tf.{function}")
    return found


def _unzipped(weights: Path, folder: Path) -> Path:
    if not zipfile.is_zipfile(weights):
        return weights
    with zipfile.ZipFile(weights) as archive:
        names = [name for name in archive.namelist() if name.endswith(".h5")]
        if len(names) != 1:
            raise ExportError(f"{weights.name} holds {len(names)} .h5 files, not one")
        return Path(archive.extract(names[0], folder))


def call_builder(network: str, load: Callable[[KerasModel], None]) -> KerasModel:
    """Runs deepface's builder. `load` takes the place of its module that fetches weights: it never reaches for the web.

    deepface's module for comparing templates, which needs packages that are of no use here, is left out likewise.
    """

    def load_model_weights(model: KerasModel, weight_file: str) -> KerasModel:
        load(model)
        return model

    fetching = types.ModuleType("deepface.commons.weight_utils")
    fetching.__dict__.update(
        download_weights_if_necessary=lambda file_name, source_url, compress_type=None: file_name,
        load_model_weights=load_model_weights,
    )
    for stand_in in (fetching, types.ModuleType("deepface.modules.verification")):
        sys.modules[stand_in.__name__] = stand_in
    module, function = BUILDERS[network]
    for name in [name for name in sys.modules if name.startswith("deepface.models.facial_recognition.tf.")]:
        del sys.modules[name]  # it would go on with the `load` of an earlier call
    return getattr(importlib.import_module(f"deepface.models.facial_recognition.tf.{module}"), function)()


def without_local_loops(model: KerasModel) -> KerasModel:
    """The same network with every LocallyConnected2D as one product of matrices, not thousands in a loop."""
    import tf_keras

    kind = tf_keras.layers.LocallyConnected2D
    if not any(isinstance(layer, kind) for layer in model.layers):
        return model
    clone = tf_keras.models.clone_model(
        model, clone_function=lambda layer: _patches_layer(layer) if isinstance(layer, kind) else _cloned(layer)
    )
    for mine, original in zip(clone.layers, model.layers, strict=True):
        if not isinstance(original, kind):
            mine.set_weights(original.get_weights())
    return clone


def _cloned(layer: KerasLayer) -> KerasLayer:
    return layer.__class__.from_config(layer.get_config())


def _patches_layer(original: KerasLayer) -> KerasLayer:
    """What `original` does, on all patches at once. Its kernel is (places, rows * columns * channels, filters)."""
    import tensorflow as tf
    import tf_keras

    if original.implementation != 1 or original.padding != "valid" or original.data_format != "channels_last":
        raise ExportError("a LocallyConnected2D layer of an unknown kind")
    places, (rows, columns), (down, across) = original.output_shape, original.kernel_size, original.strides
    height, width = places[1:3]

    class Patches(tf_keras.layers.Layer):  # type: ignore[misc]  # TensorFlow has no types here
        def build(self, _: Any) -> None:
            self.kernel, self.bias = original.kernel, original.bias

        def call(self, inputs: Any) -> Any:
            starts = [(y, x) for y in range(rows) for x in range(columns)]
            ends = [(y + (height - 1) * down + 1, x + (width - 1) * across + 1) for y, x in starts]
            parts = [
                inputs[:, y:bottom:down, x:right:across, :]
                for (y, x), (bottom, right) in zip(starts, ends, strict=True)
            ]
            patches = tf.reshape(tf.concat(parts, axis=3), (-1, height * width, self.kernel.shape[1]))
            products = tf.matmul(tf.transpose(patches, (1, 0, 2)), self.kernel)  # (places, n, filters)
            values = tf.reshape(tf.transpose(products, (1, 0, 2)), (-1, height, width, self.kernel.shape[2]))
            return original.activation(values + self.bias if original.use_bias else values)

    return Patches(name=original.name)
