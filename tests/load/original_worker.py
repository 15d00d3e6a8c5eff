"""What users have today, in a process and a virtual environment of its own: the mtcnn package and deepface.

Reads a JSON object a line from standard input and answers with one; imports nothing of ours. usage: original_worker.py
THREADS (0: as many as TensorFlow likes).
"""

import json
import os
import sys
import time

import numpy as np


def main() -> None:
    """Answers until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the libraries print goes to standard error
    tools = Tools(int(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(tools, order.pop("do"))(**order)), file=answers)


class Tools:
    """The two packages, ready."""

    def __init__(self, threads: int):
        import tensorflow
        from mtcnn import MTCNN

        if threads:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        self._mtcnn = MTCNN()

    def detect(self, photo: str, max_side: int) -> dict[str, object]:
        """Faces of a photo shrunk to max_side (0: as it is): xyxy boxes, and milliseconds of processor time."""
        picture = _read(photo)
        if max_side:
            picture = _shrink(picture, max_side)
        started = time.process_time()
        # each row: the picture's number, left, top, right, bottom, …
        faces = self._mtcnn.detect_faces(picture, fit_to_image=False, box_format="xyxy", output_type="numpy")
        return {"ms": 1000 * (time.process_time() - started), "boxes": [list(map(float, face[1:5])) for face in faces]}

    def verify(self, photo: str, gallery: list[str]) -> dict[str, object]:
        """Faces found at full size, cut out, and compared with each enrolled face: milliseconds that passed."""
        import cv2
        from deepface import DeepFace

        started = time.perf_counter()
        picture = _read(photo)
        left, top, width, height = (max(0, int(v)) for v in self._mtcnn.detect_faces(picture)[0]["box"])
        face = cv2.resize(picture[top : top + height, left : left + width, ::-1], (224, 224))
        verdicts = [
            DeepFace.verify(face, path, model_name="Dlib", detector_backend="skip")["verified"] for path in gallery
        ]
        return {"ms": 1000 * (time.perf_counter() - started), "verified": sum(map(bool, verdicts))}


def _read(path: str) -> np.ndarray:
    """uint8 RGB."""
    import cv2

    picture = cv2.imread(path)
    assert picture is not None, path
    return picture[..., ::-1]


def _shrink(picture: np.ndarray, max_side: int) -> np.ndarray:
    import cv2

    ratio = max_side / max(picture.shape[:2])
    size = round(picture.shape[1] * ratio), round(picture.shape[0] * ratio)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if ratio < 1 else picture


if __name__ == "__main__":
    main()
