"""Finds faces with MTCNN: three networks, each judging more closely what the one before it left (arXiv 1604.02878)."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.common.errors import InvalidRequest
from services.common.faces import Box, Face
from services.common.onnx import Session
from services.detector import ops, pyramid

#: Thresholds of the reference implementation, mtcnn 1.0.0.
PNET_THRESHOLD, RNET_THRESHOLD = 0.6, 0.7
LEVEL_OVERLAP, OVERLAP = 0.5, 0.7

#: Boxes are moved so far, times their level, that those of one level alone can overlap.
FAR = 1e6

#: Windows that R-Net or O-Net judges in one call: a bound on memory.
BATCH = 64

#: Above this many pixels FAITHFUL computes with 8 bits, not in floating point: a bound on memory.
FLOAT_PIXELS = 20_000_000


class Mode(enum.Enum):
    """How the pyramid is searched."""

    FAST = "fast"  # all levels in one picture, one call of P-Net
    FAITHFUL = "faithful"  # step for step as the reference


@dataclass(frozen=True)
class DetectOptions:
    """How to search.

    Attributes:
        mode: see Mode.
        min_face_px: smallest face looked for, pixels of the searched (shrunk) photo, 12 or more.
        max_side_px: photos are shrunk to this longer side for the search; 0 is the mode's own: 640 for FAST, as they
            are for FAITHFUL.
        min_confidence: O-Net's threshold, 0 to 1.

    Raises:
        InvalidRequest: a value out of its range.
    """

    mode: Mode = Mode.FAST
    min_face_px: int = 40
    max_side_px: int = 0
    min_confidence: float = 0.85

    def __post_init__(self) -> None:
        if not 12 <= self.min_face_px <= 4096:
            raise InvalidRequest(f"min_face_px is {self.min_face_px}; 12 to 4096 fit")
        if not 0 <= self.max_side_px <= 4096:
            raise InvalidRequest(f"max_side_px is {self.max_side_px}; 0 to 4096 fit")
        if not 0 <= self.min_confidence <= 1:
            raise InvalidRequest(f"min_confidence is {self.min_confidence}; 0 to 1 fit")

    @classmethod
    def reference(cls) -> "DetectOptions":
        """What mtcnn 1.0.0 does when it is asked nothing."""
        return cls(Mode.FAITHFUL, min_face_px=20, max_side_px=0, min_confidence=0.8)

    @property
    def search_side_px(self) -> int:
        """The longer side, at most, of the photo that is searched."""
        return self.max_side_px or (640 if self.mode is Mode.FAST else ops.MAX_SIDE)


@dataclass(frozen=True)
class Bounds:
    """What one search may take: a hostile picture cannot make the work endless, nor fill the memory.

    Attributes:
        windows: of P-Net's windows, of one patchwork and of all, so many go on: the best.
        faces: of R-Net's.
        strip_pixels: about how many pixels P-Net sees in one call; larger levels are searched in strips.
    """

    windows: int = 8192
    faces: int = 2048
    strip_pixels: int = 500_000


@dataclass(frozen=True)
class Windows:
    """Candidates of one stage: boxes (n, 4) in pixels of the searched picture and scores (n,)."""

    boxes: np.ndarray
    scores: np.ndarray

    def best_apart(self, overlap: float, most: int) -> "Windows":
        """The best `most`, best first, without those that a better one overlaps."""
        best = ops.best_first(self.scores)[:most]
        kept = best[ops.not_suppressed(self.boxes[best], overlap)]
        return Windows(self.boxes[kept], self.scores[kept])


class Finder(Protocol):
    """Finds faces in pictures. Safe to call from several threads."""

    def detect(self, image: np.ndarray, options: DetectOptions) -> list[Face]:
        """See Mtcnn.detect."""

    def votes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """See Mtcnn.votes."""


class Mtcnn:
    """The face finder. Safe to call from several threads."""

    def __init__(self, pnet: Session, rnet: Session, onet: Session, bounds: Bounds | None = None):
        """Takes the sessions of the networks described by deploy.models.networks.mtcnn."""
        self._pnet, self._rnet, self._onet = pnet, rnet, onet
        self._bounds = bounds or Bounds()

    def detect(self, image: np.ndarray, options: DetectOptions) -> list[Face]:
        """Faces in a photo, highest confidence first.

        Args:
            image: uint8 (height, width, 3), BGR, upright.
            options: how to search.

        Returns:
            Faces in the pixels of `image`; boxes may reach beyond it.
        """
        size = pyramid.fitted(image, options.search_side_px)
        searched = pyramid.shrink(image, size)
        levels = pyramid.packed_levels if options.mode is Mode.FAST else pyramid.separate_levels
        if options.mode is Mode.FAITHFUL and searched.size <= 3 * FLOAT_PIXELS:
            searched = searched.astype(np.float32)
        scales = pyramid.pyramid_scales(*size, options.min_face_px)
        windows = self._refine(searched, self._propose(levels(searched, scales)))
        boxes, scores, landmarks = self._conclude(searched, windows, options.min_confidence)
        factors = np.divide(image.shape[1::-1], searched.shape[1::-1])
        boxes, landmarks = boxes * factors[[0, 1, 0, 1]], (landmarks * factors).astype(np.float32)
        return [_face(*found) for found in zip(boxes, scores, landmarks, strict=True)]

    def votes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """What O-Net says of parts of a picture whichever way round they are.

        Args:
            image: uint8 (height, width, 3), BGR.
            boxes: float64 (n, 4), as in services.detector.ops.

        Returns:
            float32 (n, 4): the probability of a face as the picture stands and turned counter-clockwise by one, two
            and three quarters.
        """
        patches = ops.cut_patches(image, boxes, 48)
        turned = np.concatenate([np.rot90(patches, turns, axes=(1, 2)) for turns in range(4)])
        probability = self._onet.run(["probability"], {"image": turned})[0]
        return probability[:, 1].reshape(4, -1).T

    def _propose(self, patchworks: Iterable[pyramid.Patchwork]) -> Windows:
        """P-Net over the pyramid: square windows that may be faces."""
        found = [self._search(patchwork) for patchwork in patchworks]
        if not found:
            return Windows(np.empty((0, 4)), np.empty(0))
        boxes, scores, levels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = ops.not_suppressed(boxes + FAR * levels[:, None], LEVEL_OVERLAP)
        apart = Windows(boxes[kept], scores[kept]).best_apart(OVERLAP, self._bounds.windows)
        return Windows(ops.square(apart.boxes), apart.scores)

    def _search(self, patchwork: pyramid.Patchwork) -> tuple[np.ndarray, ...]:
        """A patchwork's windows, best first: boxes (n, 4) in pixels of the picture, scores (n,) and levels (n,)."""
        found = ops.find_windows(self._run_pnet(patchwork.pixels), patchwork.places, PNET_THRESHOLD)
        best = ops.best_first(found[1])[: self._bounds.windows]
        return tuple(values[best] for values in found)

    def _run_pnet(self, picture: np.ndarray) -> np.ndarray:
        """P-Net's logits (2) and regression (4), float32 (6, rows, columns), computed in strips."""
        height, width = picture.shape[:2]
        step = max(64, self._bounds.strip_pixels // width // pyramid.STRIDE * pyramid.STRIDE)
        overlap = pyramid.WINDOW - pyramid.STRIDE  # a strip's last windows reach into the next one
        strips = []
        for top in range(0, max(height - overlap, 1), step):
            strip = picture[top : top + step + overlap]
            strips.append(self._pnet.run(["maps"], {"image": strip[None]})[0][0])
        return np.concatenate(strips, axis=1) if len(strips) > 1 else strips[0]

    def _refine(self, image: np.ndarray, windows: Windows) -> Windows:
        """R-Net: fewer windows, better placed, square again."""
        regression, probability = _in_batches(self._rnet, ["regression", "probability"], image, windows.boxes, 24)
        chosen = probability[:, 1] > RNET_THRESHOLD
        moved = Windows(ops.move(windows.boxes, regression)[chosen], probability[chosen, 1].astype(np.float64))
        apart = moved.best_apart(OVERLAP, self._bounds.faces)
        return Windows(ops.square(apart.boxes), apart.scores)

    def _conclude(
        self, image: np.ndarray, windows: Windows, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """O-Net: boxes (n, 4), scores (n,) and landmarks (n, 5, 2) of the faces, best first."""
        outputs = ["regression", "landmarks", "probability"]
        regression, fractions, probability = _in_batches(self._onet, outputs, image, windows.boxes, 48)
        scores = probability[:, 1].astype(np.float64)
        order = np.argsort(scores)[::-1]
        order = order[scores[order] > threshold]
        boxes = ops.move(windows.boxes, regression)[order]
        landmarks = ops.place_landmarks(windows.boxes, fractions)[order]
        kept = ops.not_suppressed(boxes, OVERLAP, by_smaller=True)
        return boxes[kept], scores[order][kept], landmarks[kept]


def _in_batches(
    session: Session, outputs: list[str], image: np.ndarray, boxes: np.ndarray, side: int
) -> list[np.ndarray]:
    """The outputs of a network for each box, cut out at side x side pixels."""
    batches = [boxes[i : i + BATCH] for i in range(0, len(boxes), BATCH)] or [boxes]
    results = [session.run(outputs, {"image": ops.cut_patches(image, batch, side)}) for batch in batches]
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _face(box: np.ndarray, score: float, landmarks: np.ndarray) -> Face:
    left, top, right, bottom = (float(v) for v in box)
    return Face(Box(left, top, right - left, bottom - top), landmarks, float(score))
