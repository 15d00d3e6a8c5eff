"""Bringing points onto others by rotation, scale and shift; in pixels, from the top left corner of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: MTCNN's five landmarks in dlib's face chip (`get_face_chip`, 150 pixels wide and high, padding 0.25): the mean of
#: measurements on real faces.
CHIP_LANDMARKS = ((47.2, 45.1), (100.7, 45.0), (73.3, 77.0), (49.4, 100.0), (99.0, 99.4))

#: Of points that are one point no scale can be told: theirs is this, so that every similarity has an inverse.
LEAST_SCALE = 1e-6


@dataclass(frozen=True)
class Similarity:
    """Rotation, scale and shift of the plane, as complex numbers: z -> turn * z + shift; x real, y imaginary."""

    turn: complex
    shift: complex

    @classmethod
    def fit(cls, source: np.ndarray, target: np.ndarray, weights: Sequence[float] | None = None) -> "Similarity":
        """The one that brings source points nearest to target points by squared distances. It never mirrors.

        S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13(4),
        1991; in the plane the rotation and the scale are the quotient of two sums of complex numbers.

        Args:
            source, target: (n, 2) points, n >= 2.
            weights: n numbers >= 0, of the squared distances; equal if not given.
        """
        here, there = _to_complex(source), _to_complex(target)
        share = np.ones(len(here)) if weights is None else np.array(weights, np.float64)
        share /= share.sum()
        centre, goal = share @ here, share @ there
        weighted = share * (here - centre).conj()
        power = (weighted @ (here - centre)).real
        turn = complex(weighted @ (there - goal) / max(power, LEAST_SCALE**2))
        turn = turn if abs(turn) > LEAST_SCALE else complex(LEAST_SCALE)
        return cls(turn, complex(goal - turn * centre))

    @property
    def scale(self) -> float:
        """Lengths after by lengths before."""
        return abs(self.turn)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """float64 (..., 2) of (..., 2) points."""
        moved = self.turn * _to_complex(points) + self.shift
        return np.stack([moved.real, moved.imag], axis=-1)

    def inverse(self) -> "Similarity":
        """The way back."""
        return Similarity(1 / self.turn, -self.shift / self.turn)

    def matrix(self) -> np.ndarray:
        """float64 (2, 3), M with M[:, :2] @ point + M[:, 2]."""
        turn, shift = self.turn, self.shift
        return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def between_pixel_centres(matrix: np.ndarray) -> np.ndarray:
    """A (2, 3) matrix for OpenCV, for which (0, 0) is the centre of a picture's first pixel, not its corner."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return moved


def _to_complex(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[..., 0]
