"""Plausible other photos of a face: what enrollment stores beside each crop and what verification probes with."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from services.common.faces import FaceCrop
from services.images.decode import decode

MAX_COUNT = 64

#: Rows of a mirrored face's landmarks, so that left stays the viewer's left.
MIRRORED_ROWS = [1, 0, 2, 4, 3]


def augment(crop: FaceCrop, count: int, seed: int = 0) -> list[FaceCrop]:
    """Changed versions of a face, the same for the same crop, count and seed; fewer are the beginning of more.

    The mirror image comes first, as it helps recognition most; then the original and the mirror image by turns, each
    with a recipe of its own, mild ones first.

    Args:
        crop: the face.
        count: 0 to MAX_COUNT.
        seed: another seed gives other versions.
    """
    if not count:
        return []
    content = hashlib.sha256(crop.pixels.tobytes()).digest()
    sources = crop, mirror(crop)
    versions = []
    for index in range(count):
        random = np.random.default_rng([seed, index, *np.frombuffer(content, np.uint32)])
        source = sources[(index + 1) % 2]
        versions.append(source if index == 0 else _vary(source, index, random))
    return versions


def mirror(crop: FaceCrop) -> FaceCrop:
    """The face as a mirror shows it, landmarks renamed so that left is the viewer's left again."""
    landmarks = crop.landmarks[MIRRORED_ROWS].copy()
    landmarks[:, 0] = crop.pixels.shape[1] - landmarks[:, 0]
    return FaceCrop(cv2.flip(crop.pixels, 1), landmarks)


@dataclass(frozen=True)
class Shift:
    """A small change of the frame: degrees, scale, and shares of the crop's size."""

    angle: float
    scale: float
    right: float
    down: float


def shift_frame(crop: FaceCrop, shift: Shift) -> FaceCrop:
    """Turns, scales and moves the face about the crop's middle; the edges are reflected into what comes into view."""
    height, width = crop.pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), shift.angle, shift.scale)
    matrix[:, 2] += shift.right * width, shift.down * height
    pixels = cv2.warpAffine(
        crop.pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    landmarks = (crop.landmarks - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    return FaceCrop(pixels, landmarks.astype(np.float32))


def _vary(crop: FaceCrop, index: int, random: np.random.Generator) -> FaceCrop:
    """A change of the frame and, by turns, one of the pixels; both grow with the index."""
    strength = min(1.0, 0.4 + index / 16)
    angle, scale, right, down = random.uniform(-1, 1, 4) * strength
    moved = shift_frame(crop, Shift(angle * 8, 1 + scale * 0.05, right * 0.02, down * 0.02))
    change = _CHANGES[(index - 1) % len(_CHANGES)]
    return FaceCrop(change(moved.pixels, strength, random), moved.landmarks)


def _relight(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Brightness, contrast about the mean, and gamma."""
    gain, offset, gamma = random.uniform(-1, 1, 3) * strength
    values = np.linspace(0, 1, 256) ** np.exp(gamma * 0.35)
    middle = float(pixels.mean()) / 255
    values = (values - middle) * (1 + 0.2 * gain) + middle + 0.08 * offset
    return cv2.LUT(pixels, (values.clip(0, 1) * 255).round().astype(np.uint8))


def _tint(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Another white balance."""
    gains = 1 + random.uniform(-0.1, 0.1, 3) * strength
    table = (np.arange(256)[:, None] * gains).clip(0, 255).round().astype(np.uint8)
    return cv2.LUT(pixels, table[None])


def _blur(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    sigma = random.uniform(0.4, 0.5 + 0.7 * strength) * min(pixels.shape[:2]) / 224
    return cv2.GaussianBlur(pixels, (0, 0), max(sigma, 0.2))


def _noise(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    grain = random.standard_normal(pixels.shape[:2], np.float32)[..., None] * np.float32(2 + 4 * strength)
    colour = random.standard_normal(pixels.shape, np.float32) * np.float32(1 + 2 * strength)
    noisy: np.ndarray = pixels + grain + colour
    return noisy.clip(0, 255).round().astype(np.uint8)


def _compress(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    quality = int(random.uniform(85 - 45 * strength, 90))
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return decode(data.tobytes())


_CHANGES: tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...] = (
    _relight,
    _blur,
    _tint,
    _noise,
    _compress,
)
