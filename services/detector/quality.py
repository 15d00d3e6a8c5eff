"""How good a photo is for recognition, from its pixels alone, and what is wrong with it.

Five measurements, each of one fault and as blind as can be to the others, become five components of 0 to 1, and their
product the score. Sharpness, noise and exposure are measured on the photo shrunk (or stretched) to a longer side of
SCALE pixels, about what a face model sees of it: so more megapixels neither help nor hurt them, and shrinking a photo
cannot mend it. Compression is measured on the stored pixels, where the 8x8 grid of JPEG is.

The constants below were fitted on the 69 photos of deepface's tests and their degraded versions; tests/quality/
test_quality_score.py holds what they must achieve.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from services.detector.pyramid import halve_towards

#: Longer side, pixels, at which sharpness, noise and exposure are measured.
SCALE = 320

#: Side, pixels, of the picture that exposure is measured on, and of the middle part searched for block edges.
EXPOSURE_SIDE, BLOCKS_SIDE = 96, 1024


@dataclass(frozen=True)
class Components:
    """What is wrong with a photo: each 0 to 1, 1 is flawless."""

    sharpness: float  # falls with blur
    noise: float  # falls with sensor noise
    exposure: float  # falls with darkness and with blown highlights
    compression: float  # falls with JPEG block artefacts
    resolution: float  # falls with the number of pixels


@dataclass(frozen=True)
class Quality:
    """A photo's score, 0 to 10: the product of its components, times 10."""

    score: float
    components: Components


@dataclass(frozen=True)
class Measures:
    """What is measured; `judge` turns it into components.

    Attributes:
        softness: gradient energy that a further Gaussian blur of one pixel leaves, 0 to 1. Under Gaussian blur it grows
            without exception: the blur shifts the spectrum's weight to where the second blur takes nothing.
        stretched_softness: the same where the photo is stretched to SCALE, if it is smaller; else the same number.
        noise: standard deviation of the noise in the smoothest parts, grey levels.
        brightness: grey level of the brighter parts and the mean together, 0 to 255.
        shadows_to_lights: mean of the darkest quarter over that of the brightest, 0 to 1: grows in washed-out photos.
        blown: share of the photo's middle, where the face is, within a few levels of the brightest value, 0 to 1.
        blockiness: how much larger steps over the 8x8 grid's lines are than elsewhere, 0 (none) to about 1.5.
        pixels: of the photo.
    """

    softness: float
    stretched_softness: float
    noise: float
    brightness: float
    shadows_to_lights: float
    blown: float
    blockiness: float
    pixels: int


def score_image(pixels: np.ndarray) -> Quality:
    """Judges a photo.

    Args:
        pixels: uint8 (height, width, 3), BGR, at full resolution.
    """
    return judge(measure(pixels))


def judge(measures: Measures) -> Quality:
    """The components that measurements amount to, and their product."""
    sharpness, stretched = (1 - softness**5.5 for softness in (measures.softness, measures.stretched_softness))
    detail = min(1.0, stretched / sharpness) if sharpness > 0 else 1.0  # what is missing for want of pixels
    components = Components(
        sharpness=sharpness,
        noise=1 / (1 + 0.02 * measures.noise + (measures.noise / 3.5) ** 5),
        exposure=_exposure(measures),
        compression=1 / (1 + (measures.blockiness / 0.27) ** 2.1),
        resolution=detail / (1 + (700 / measures.pixels) ** 0.5),
    )
    parts = components.sharpness, components.noise, components.exposure, components.compression, components.resolution
    return Quality(10 * float(np.prod(parts)), components)


def _exposure(measures: Measures) -> float:
    """The lower of two judgements, smoothly: a photo is too dark, or washed out and blown."""
    dark: float = 1 / (1 + (25 / max(measures.brightness, 1e-6)) ** 2.3)
    bright: float = (1 - 0.95 * measures.shadows_to_lights**4.5) * (1 - 0.85 * measures.blown**1.6)
    return 1 / (1 / dark + 1 / bright - 1)


def measure(pixels: np.ndarray) -> Measures:
    """Measures a photo; see `score_image`."""
    scaled = _to_scale(pixels)
    stretched = _to_scale(pixels, stretch=True) if max(pixels.shape[:2]) < SCALE else scaled
    noise = noise_level(stretched)
    return Measures(
        softness(scaled, noise),
        softness(stretched, noise),
        noise,
        *_tones(scaled),
        blockiness(pixels),
        pixels.shape[0] * pixels.shape[1],
    )


def _to_scale(pixels: np.ndarray, stretch: bool = False) -> np.ndarray:
    """Grey levels, float32, the longer side SCALE pixels; smaller photos only if they are to be stretched."""
    height, width = pixels.shape[:2]
    ratio = SCALE / max(height, width)
    if ratio >= 1 and not stretch:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    gray = cv2.cvtColor(halve_towards(pixels, size), cv2.COLOR_BGR2GRAY)
    return cv2.resize(gray.astype(np.float32), size, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR)


def softness(picture: np.ndarray, noise: float) -> float:
    """See Measures; `noise` adds sharpness of the wrong kind, and is taken off."""
    energy = _gradient_energy(picture)
    if energy < 0.5:  # nothing to be sharp: a blank picture, with rounding
        return 1.0
    structure = max(energy - 8 * noise**2, 0.3 * energy)
    return min(1.0, _gradient_energy(cv2.GaussianBlur(picture, (0, 0), 1)) / structure)


def _gradient_energy(picture: np.ndarray) -> float:
    return float(sum(np.square(np.diff(picture, axis=axis)).mean() for axis in (0, 1) if picture.shape[axis] > 1))


def noise_level(picture: np.ndarray) -> float:
    """Standard deviation of the noise, grey levels: Immerkaer's estimate (1996, "Fast Noise Variance Estimation") in
    blocks of 8x8 pixels, of which the smooth ones (the 15th percentile) show noise and no structure.
    """
    rows, columns = picture.shape[0] // 8, picture.shape[1] // 8
    if rows < 1 or columns < 1:
        return 0.0
    laplacian = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(picture, cv2.CV_32F, laplacian))[: rows * 8, : columns * 8]
    blocks = cv2.resize(response, (columns, rows), interpolation=cv2.INTER_AREA)
    deviation: float = float(np.percentile(blocks, 15)) * (np.pi / 2) ** 0.5 / 6
    return deviation


def _tones(picture: np.ndarray) -> tuple[float, float, float]:
    """brightness, shadows_to_lights and blown; see Measures."""
    levels = cv2.resize(picture, (EXPOSURE_SIDE, EXPOSURE_SIDE), interpolation=cv2.INTER_AREA).ravel()
    blown = float(_weights(0.42, 0.12, 0.15)[levels >= np.percentile(levels, 99.5) - 6].sum())
    order = np.argsort(levels)
    levels, weights = levels[order].astype(np.float64), _weights(0.47, 0.22, 0.26)[order]
    below = np.cumsum(weights)
    shadows = np.average(levels[below <= 0.25], weights=weights[below <= 0.25])
    lights = np.average(levels[below >= 0.75], weights=weights[below >= 0.75])
    mean = float((levels * weights).sum())
    if lights < 1:
        return 0.0, 1.0, blown
    return float(np.sqrt(lights * mean)), float(shadows / lights), blown


def _weights(middle: float, across: float, down: float) -> np.ndarray:
    """How much each pixel of the exposure picture counts: a Gaussian about the middle column, at the height `middle`,
    of the widths `across` and `down`, all in shares of the picture; sums to 1. Faces are there more often than not, and
    a white wall behind them is no fault.
    """
    places = (np.arange(EXPOSURE_SIDE) + 0.5) / EXPOSURE_SIDE
    columns, rows = np.exp(-(((places - 0.5) / across) ** 2) / 2), np.exp(-(((places - middle) / down) ** 2) / 2)
    weights: np.ndarray = np.outer(rows, columns).ravel()
    weights /= weights.sum()
    return weights


def blockiness(pixels: np.ndarray) -> float:
    """How much JPEG's 8x8 blocks show in the middle of a photo, wherever their grid lies; see Measures.

    Steps between the means of three pixels left and right of a line (above and below it) survive a slight blur, unlike
    those between neighbours, so that blurring does not pass for mending.
    """
    sides = pixels.shape[:2]
    top, left = (max(0, (side - BLOCKS_SIDE) // 2) for side in sides)
    part = pixels[top : top + BLOCKS_SIDE, left : left + BLOCKS_SIDE]
    if min(part.shape[:2]) < 24:
        return 0.0
    gray = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
    excesses, elsewhere = zip(_grid_steps(gray), _grid_steps(cv2.transpose(gray)), strict=True)
    relative = max(0.0, sum(excesses) / 2) / (sum(elsewhere) / 2 + 0.3)
    visible: float = min(1.0, (448 / max(sides)) ** 0.5)  # blocks show less where they are small in the photo
    return relative * visible


def _grid_steps(part: np.ndarray) -> tuple[float, float]:
    """By how much the mean step at the most conspicuous of the 8 phases is larger than far from it, and the latter."""
    means = cv2.blur(part, (3, 1))
    _, steps = cv2.threshold(cv2.absdiff(means[:, 3:], means[:, :-3]), 20, 0, cv2.THRESH_TRUNC)
    columns = cv2.reduce(steps, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / len(steps)
    phases = columns[: len(columns) // 8 * 8].reshape(-1, 8).mean(axis=0)
    far = np.array([np.roll(phases, -phase)[3:6].mean() for phase in range(8)])
    worst = int(np.argmax(phases - far))
    return float(phases[worst] - far[worst]), float(far[worst])
