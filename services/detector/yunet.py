"""Finds faces with YuNet: one small network over the whole picture (libfacedetection.train, Wu et al. 2023).

Faces are asked how they like the picture turned by MTCNN's last network, as MTCNN's own are.
"""

from collections.abc import Sequence

import numpy as np

from services.common.faces import Box, Face
from services.common.onnx import Session
from services.detector import ops, pyramid
from services.detector.mtcnn import DetectOptions, Mtcnn

#: Pixels between the places that each of the network's three grids judges.
STRIDES = (8, 16, 32)

#: Faces that overlap more are one, and so many of the surest are kept.
OVERLAP = 0.3
MOST_FACES = 512

#: What YuNet gives a face that MTCNN would give `min_confidence`: its numbers are lower.
CONFIDENCE_SHARE = 0.7


class YuNet:
    """The face finder. Safe to call from several threads; see Mtcnn for the terms."""

    def __init__(self, network: Session, mtcnn: Mtcnn):
        """
        Args:
            network: takes `input`, float32 (1, 3, height, width), BGR, 0 to 255, sides multiples of 32; gives for each of
                STRIDES `cls_…`, `obj_…`, `bbox_…` and `kps_…` of its places.
            mtcnn: votes on faces.
        """
        self._network = network
        self._mtcnn = mtcnn

    def detect(self, image: np.ndarray, options: DetectOptions) -> list[Face]:
        """Faces in a photo, highest confidence first; see Mtcnn.detect."""
        size = pyramid.fitted(image, options.search_side_px)
        searched = pyramid.shrink(image, size)
        boxes, scores, landmarks = self._find(searched, options.min_confidence * CONFIDENCE_SHARE)
        factors = np.divide(image.shape[1::-1], searched.shape[1::-1])
        large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) >= options.min_face_px
        found = zip(boxes[large] * factors[[0, 1, 0, 1]], scores[large], landmarks[large] * factors, strict=True)
        return [_face(*one) for one in found]

    def votes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """See Mtcnn.votes."""
        return self._mtcnn.votes(image, boxes)

    def _find(self, image: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (n, 4) as in services.detector.ops, scores (n,) and landmarks (n, 5, 2), best first."""
        height, width = image.shape[:2]
        padded = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        padded[0, :, :height, :width] = image.transpose(2, 0, 1)
        names = [f"{what}_{stride}" for stride in STRIDES for what in ("cls", "obj", "bbox", "kps")]
        outputs = self._network.run(names, {"input": padded})
        found = [
            _decode(outputs[4 * number : 4 * number + 4], stride, padded.shape[3] // stride, least)
            for number, stride in enumerate(STRIDES)
        ]
        boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best = ops.best_first(scores)[: 4 * MOST_FACES]
        kept = best[ops.not_suppressed(boxes[best], OVERLAP)][:MOST_FACES]
        return boxes[kept], scores[kept], landmarks[kept]


def _decode(
    outputs: Sequence[np.ndarray], stride: int, columns: int, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What one grid found with a score of `least` or more."""
    classes, objects, offsets, points = (output[0] for output in outputs)
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    at = np.flatnonzero(scores >= least)
    corner = np.stack([at % columns, at // columns], axis=1)
    middle = (corner + offsets[at, :2]) * stride
    half = np.exp(np.minimum(offsets[at, 2:], 10)) * stride / 2
    landmarks = (corner[:, None] + points[at].reshape(-1, 5, 2)) * stride
    return np.concatenate([middle - half, middle + half], axis=1), scores[at], landmarks


def _face(box: np.ndarray, score: float, landmarks: np.ndarray) -> Face:
    left, top, right, bottom = box.tolist()
    return Face(Box(left, top, right - left, bottom - top), landmarks.astype(np.float32), float(score))
