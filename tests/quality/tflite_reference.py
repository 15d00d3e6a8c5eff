"""Says what TensorFlow Lite itself gives for pictures. Run by .venv-convert's Python.

python -m tests.quality.tflite_reference FILE.tflite INPUTS.npy OUTPUTS.npy
"""

import sys

import numpy as np

from deploy.models.keras.export import quieten


def main() -> None:
    quieten()
    import tensorflow as tf

    network, given, gives = sys.argv[1:]
    interpreter = tf.lite.Interpreter(network)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    batch = int(source["shape"][0])
    outputs = []
    for picture in np.load(given):
        interpreter.set_tensor(source["index"], np.repeat(picture[None], batch, axis=0))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"])[0].copy())
    np.save(gives, np.stack(outputs))


if __name__ == "__main__":
    main()
