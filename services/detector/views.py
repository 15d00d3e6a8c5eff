"""Pictures made of a photo to search it once more: shrunk, turned, with a border; each knows the way back."""

from dataclasses import dataclass

import cv2
import numpy as np

from services.common.faces import Box, Face
from services.detector import pyramid
from services.images.decode import ReducedPhoto

#: Grey level of a border: what the networks take as nothing.
BORDER = 128


@dataclass(frozen=True)
class PhotoView:
    """A picture made of a photo.

    Attributes:
        pixels: uint8 (height, width, 3), BGR.
        matrix: float64 (2, 3): its points to those of the full photo.
        turns: by how many quarters, counter-clockwise, the photo was turned: 0 to 3.
    """

    pixels: np.ndarray
    matrix: np.ndarray
    turns: int = 0

    @classmethod
    def of(cls, photo: ReducedPhoto, side: int) -> "PhotoView":
        """The photo, shrunk to `side` pixels at its longer side if it is larger."""
        pixels = pyramid.shrink(photo.pixels, pyramid.fitted(photo.pixels, side))
        across, down = photo.factor * np.divide(photo.pixels.shape[1::-1], pixels.shape[1::-1])
        return cls(pixels, np.array([[across, 0, 0], [0, down, 0]]))

    def turned(self, turns: int) -> "PhotoView":
        """The same turned counter-clockwise by so many quarters."""
        view = self
        for _ in range(turns % 4):
            width = view.pixels.shape[1]
            pixels = cv2.rotate(view.pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
            view = PhotoView(pixels, _after(view.matrix, np.array([[0, -1, width], [1, 0, 0]])), (view.turns + 1) % 4)
        return view

    def bordered(self, share: float) -> "PhotoView":
        """The same with a plain border of a share of its longer side."""
        width = round(share * max(self.pixels.shape[:2]))
        pixels = cv2.copyMakeBorder(
            self.pixels, width, width, width, width, cv2.BORDER_CONSTANT, value=(BORDER, BORDER, BORDER)
        )
        return PhotoView(pixels, _after(self.matrix, np.array([[1, 0, -width], [0, 1, -width]])), self.turns)

    def in_photo(self, face: Face) -> Face:
        """A face of this picture in the full photo's pixels; its box lies along the photo's sides, turned or not."""
        box = face.box
        corners = self._to_photo(np.array([[box.x, box.y], [box.x + box.width, box.y + box.height]]))
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        landmarks = self._to_photo(face.landmarks).astype(np.float32)
        return Face(Box(left, top, right - left, bottom - top), landmarks, face.confidence)

    def _to_photo(self, points: np.ndarray) -> np.ndarray:
        moved: np.ndarray = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved


def _after(matrix: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that does what `first` does and then what `matrix` does."""
    both: np.ndarray = matrix[:, :2] @ first
    both[:, 2] += matrix[:, 2]
    return both
