"""Makes Keras files with random weights, and says what Keras itself gives for pictures. Run by .venv-convert's Python.

python -m tests.quality.keras_reference weights NETWORK FILE.h5
python -m tests.quality.keras_reference outputs NETWORK FILE.h5 INPUTS.npy OUTPUTS.npy
python -m tests.quality.keras_reference liveness|lambda FILE.h5
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploy.models.keras import networks as keras_networks
from deploy.models.keras.export import quieten


def main() -> None:
    quieten()
    what, *rest = sys.argv[1:]
    writers: dict[str, Callable[..., None]] = {
        "weights": write_weights,
        "outputs": write_outputs,
        "liveness": write_liveness,
        "lambda": write_lambda,
    }
    writers[what](*rest)


def write_weights(network: str, path: str) -> None:
    def save(model: Any) -> None:
        randomise(model)
        model.save_weights(path)

    import tf_keras

    tf_keras.utils.set_random_seed(7)
    keras_networks.call_builder(network, save)


def randomise(model: Any) -> None:
    """Biases and normalisation statistics are zeros and ones in a new network, which would hide faults."""
    random = np.random.default_rng(7)
    for weight in model.weights:
        values = weight.numpy()
        if "variance" in weight.name:
            weight.assign(random.uniform(0.5, 2, values.shape))
        elif values.ndim == 1:
            weight.assign(values + random.normal(0, 0.1, values.shape))


def write_outputs(network: str, weights: str, inputs: str, outputs: str) -> None:
    """What Keras gives for each picture, calculated in float64 where TensorFlow can."""
    model = keras_networks.read_exactly(network, Path(weights))
    np.save(outputs, np.concatenate([model(picture[None], training=False) for picture in np.load(inputs)]))


def write_liveness(path: str) -> None:
    """A small network of the original's form: 224 x 224 colour pixels, 0 to 255, to one probability."""
    import tf_keras as keras

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Rescaling(1 / 127.5, offset=-1, input_shape=(224, 224, 3)),
            layers.Conv2D(8, 5, strides=4, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.SeparableConv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    randomise(model)
    model.compile("adam", "binary_crossentropy")
    model.save(path)


def write_lambda(path: str) -> None:
    import tf_keras as keras

    model = keras.Sequential([keras.layers.Lambda(lambda x: x[:, 0, 0, :1], input_shape=(224, 224, 3))])
    model.save(path)


if __name__ == "__main__":
    main()
