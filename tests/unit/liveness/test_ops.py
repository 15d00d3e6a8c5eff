"""services/liveness/ops.py: the size at which a photo is judged."""

import cv2
import numpy as np
import pytest

from services.liveness.ops import decode_halved


@pytest.mark.parametrize(("shrink", "factor"), [(0.5, 1), (3.9, 2), (5, 4), (20, 16)])
def test_every_format_is_halved_alike(shrink: float, factor: int) -> None:
    noise = np.random.default_rng(0).normal(128, 2000, (400, 608)).astype(np.float32)
    picture = cv2.merge([cv2.GaussianBlur(noise, (0, 0), 20).clip(0, 255).astype(np.uint8)] * 3)
    jpeg, png = (decode_halved(cv2.imencode(kind, picture)[1].tobytes(), shrink) for kind in (".jpg", ".png"))
    assert jpeg.factor == png.factor == factor
    assert jpeg.pixels.shape == png.pixels.shape == (400 // factor, 608 // factor, 3)
    assert (jpeg.full_width, jpeg.full_height) == (png.full_width, png.full_height) == (608, 400)
    assert np.abs(jpeg.pixels.astype(int) - png.pixels).mean() < 2
