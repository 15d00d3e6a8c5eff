"""The score of photos: good ones pass SCORE_TOL, and what makes them worse lowers it, steadily.

To run the series on every photo instead of the small ones (minutes): RECO_TEST_EVERY_PHOTO=1.
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from services.detector.quality import Quality, score_image
from services.images.decode import decode, decode_reduced

#: SCORE_TOL as users have it.
TOLERANCE = 7.0

#: The series are measured on photos up to this size, to be quick.
SMALL_PIXELS = 700_000


def blur(image: np.ndarray, share: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), share * max(image.shape))


def noise(image: np.ndarray, sigma: float) -> np.ndarray:
    grain = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32) * sigma
    return (image + grain).clip(0, 255).round().astype(np.uint8)


def expose(image: np.ndarray, gain: float) -> np.ndarray:
    return cv2.convertScaleAbs(image, alpha=gain)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def shrink(image: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


SERIES: dict[str, tuple[Callable, list[float]]] = {
    "blur": (blur, [0.0015, 0.0025, 0.004, 0.006, 0.008, 0.012, 0.018]),
    "noise": (noise, [6, 12, 18, 25, 35, 50]),
    "darkness": (expose, [0.7, 0.5, 0.35, 0.25, 0.15, 0.08]),
    "over-exposure": (expose, [1.6, 2, 2.5, 3.5, 6, 10]),
    "compression": (compress, [45, 35, 25, 18, 12, 8, 5]),
    "shrinking": (shrink, [0.8, 0.6, 0.45, 0.3, 0.2, 0.1]),
}


def score(image: np.ndarray) -> float:
    return score_image(image).score


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[Path]:
    return sorted((photos / "faces" / "deepface").glob("*/*.jpg"))


@pytest.fixture(scope="module")
def images(paths: list[Path]) -> dict[str, np.ndarray]:
    files = {path.stem: path.read_bytes() for path in paths}
    if not os.environ.get("RECO_TEST_EVERY_PHOTO"):
        files = {name: data for name, data in files.items() if pixels(data) <= SMALL_PIXELS}
    assert len(files) >= 20
    return {name: decode(data) for name, data in files.items()}


def pixels(data: bytes) -> int:
    photo = decode_reduced(data, 8)
    return photo.full_width * photo.full_height


@pytest.mark.parametrize("kind", SERIES)
def test_what_makes_a_photo_worse_lowers_its_score(images, kind):
    """One photo of 64 is excepted, a face before black: brightening it is no fault until its skin blows out."""
    worsen, strengths = SERIES[kind]
    astray = []
    for name, image in images.items():
        scores = [score(worsen(image, strength)) for strength in strengths]
        falling = spearmanr(range(len(scores)), scores).statistic <= -0.9
        if not falling or max(scores[len(scores) // 2 :]) >= score(image):
            astray.append(f"{name}: {np.round(scores, 2)} of {score(image):.2f}")
        if image.shape[0] * image.shape[1] <= SMALL_PIXELS:  # a tenth of a large photo is still a fair one
            assert scores[-1] < TOLERANCE, f"{name} passes at its worst: {scores[-1]:.2f}"
    assert len(astray) <= 0.02 * len(images), astray


@pytest.mark.parametrize(
    ("kind", "component"),
    [("blur", "sharpness"), ("noise", "noise"), ("darkness", "exposure"), ("over-exposure", "exposure"),
     ("compression", "compression"), ("shrinking", "resolution")],
)  # fmt: skip
def test_the_component_says_what_is_wrong(images, kind, component):
    worsen, strengths = SERIES[kind]
    blamed = 0
    for image in images.values():
        before, after = (vars(score_image(i).components) for i in (image, worsen(image, strengths[-1])))
        blamed += component == min(before, key=lambda name: after[name] / max(before[name], 1e-9))
    assert blamed >= 0.85 * len(images)


def test_good_photos_pass(paths):
    scores = np.array([score(decode(path.read_bytes())) for path in paths])
    assert (scores >= TOLERANCE).mean() >= 0.95, np.round(np.sort(scores)[:6], 2)


def test_a_jpeg_kept_as_png_is_still_a_jpeg(images):
    """It is the pixels that are judged, not the file they came in."""
    image = compress(next(iter(images.values())), 12)
    png = cv2.imdecode(cv2.imencode(".png", image)[1], cv2.IMREAD_COLOR)
    assert score_image(png) == score_image(image)


def test_blocks_are_seen_wherever_their_grid_lies(images):
    image = compress(next(iter(images.values())), 10)
    aligned = score_image(image).components.compression
    for top, left in ((3, 5), (1, 0), (7, 7)):
        assert abs(score_image(image[top:, left:]).components.compression - aligned) < 0.1


@pytest.mark.parametrize("level", [0, 60, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (480, 640), (1, 5000), (5000, 1), (3000, 4000)])
def test_blank_pictures_score_low(shape, level):
    quality = score_image(np.full((*shape, 3), level, np.uint8))
    assert quality.score < 1 and all(0 <= value <= 1 for value in vars(quality.components).values())


def test_the_score_is_the_product(images):
    quality = score_image(next(iter(images.values())))
    assert isinstance(quality, Quality)
    assert quality.score == pytest.approx(10 * np.prod(list(vars(quality.components).values())))
    assert 0 <= quality.score <= 10
