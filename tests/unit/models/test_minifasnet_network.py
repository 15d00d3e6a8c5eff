"""MiniFASNet on this project's convolutions against PyTorch's numbers and the same layers written out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from deploy.models.formats import pth
from deploy.models.networks.minifasnet import BATCH, EPSILON, SIDE, STAGES, MiniFasNetwork
from deploy.models.sources import minifasnet_files
from services.common.errors import ModelUnavailable
from services.common.networks import program

#: What PyTorch 2.15 computes in float64 from the authors' weights for `patterns()`: print, real, replay.
EXPECTED = {
    2.7: [
        [8.228e-05, 0.69373695, 0.30618077],
        [6.8e-07, 0.97804929, 0.02195003],
        [8.03e-06, 0.87031321, 0.12967876],
        [1.21e-06, 0.74529487, 0.25470392],
    ],
    4.0: [
        [0.00052668, 0.83312071, 0.16635261],
        [4.708e-05, 0.95756532, 0.04238759],
        [3.161e-05, 0.8486071, 0.15136129],
        [9.31e-06, 0.96490271, 0.03508798],
    ],
}

Tensors = dict[str, np.ndarray]

#: Of the stages of made-up networks, see `Random`.
WIDTHS = [
    ((64, 103, 13, -52), (128, 231, 26, 77, -26), (128, 308, -26)),
    ((33, 1, -33, 48), (5, 17, -16), (200, 15)),
    ((16, 16), (90, 32, 31, 33, -1), (16, 100, 3, -100)),
]


def patterns() -> np.ndarray:
    """uint8 (4, 80, 80, 3): folded slopes, made without a random generator."""
    k, y, x, c = np.ogrid[:4, :80, :80, :3]
    return np.abs((3 * x * (k + 1) + 2 * y * (c + 1) + 40 * k) % 510 - 255).astype(np.uint8)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def real(photos: Path, scale: float) -> Tensors:
    return pth.read_state_dict((photos / "weights" / "minifasnet" / minifasnet_files()[scale].name).read_bytes())


class Random:
    """Makes a network's tensors: `widths` of each stage, then of each of its blocks, those below zero squeezed."""

    def __init__(self, stem: int, *stages: tuple[int, ...]) -> None:
        self._random = np.random.default_rng(stem)
        self.tensors: Tensors = {}
        self._convolution("conv1", stem, 3, 3, prelu=True)
        self._convolution("conv2_dw", stem, 1, 3, prelu=True)
        channels = stem
        for (halving, residual), (filters, width, *blocks) in zip(STAGES, stages, strict=True):
            self._block(halving, width, channels, filters)
            channels = filters
            for number, wide in enumerate(blocks):
                self._block(f"{residual}.model.{number}", abs(wide), channels, channels)
                if wide < 0:
                    self._squeeze(f"{residual}.model.{number}.se_module", channels)
        self._convolution("conv_6_sep", 67, channels, 1, prelu=True)
        self._convolution("conv_6_dw", 67, 1, 5)
        self.tensors["linear.weight"] = self._random.normal(size=(9, 67)).astype(np.float32) / 8
        self._norm("bn", 9)
        self.tensors["prob.weight"] = self._random.normal(size=(3, 9)).astype(np.float32) / 3

    def _block(self, name: str, wide: int, channels: int, filters: int) -> None:
        self._convolution(f"{name}.conv", wide, channels, 1, prelu=True)
        self._convolution(f"{name}.conv_dw", wide, 1, 3, prelu=True)
        self._convolution(f"{name}.project", filters, wide, 1)

    def _squeeze(self, name: str, channels: int) -> None:
        for number, shape in ((1, (channels // 4, channels, 1, 1)), (2, (channels, channels // 4, 1, 1))):
            weights = self._random.normal(scale=shape[1] ** -0.5 / 9, size=shape)
            self.tensors[f"{name}.fc{number}.weight"] = weights.astype(np.float32)
            self._norm(f"{name}.bn{number}", shape[0])

    def _convolution(self, name: str, filters: int, channels: int, window: int, prelu: bool = False) -> None:
        shape = (filters, channels, window, window)
        scale = 1 / np.sqrt(channels * window**2)
        self.tensors[f"{name}.conv.weight"] = self._random.normal(scale=scale, size=shape).astype(np.float32)
        self._norm(f"{name}.bn", filters)
        if prelu:
            self.tensors[f"{name}.prelu.weight"] = self._random.normal(size=filters).astype(np.float32)

    def _norm(self, name: str, filters: int) -> None:
        for part, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1), ("running_mean", -1, 1), ("running_var", 1, 2)):
            self.tensors[f"{name}.{part}"] = self._random.uniform(low, high, filters).astype(np.float32)


class WrittenOut:
    """What PyTorch computes, in float64."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = {name.removeprefix("module."): value for name, value in tensors.items()}

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        powers = np.exp(self.logits(crops))
        return powers / powers.sum(axis=1, keepdims=True)

    def logits(self, crops: np.ndarray) -> np.ndarray:
        x = self._layer("conv1", crops.transpose(0, 3, 1, 2).astype(np.float64), 2, 1)
        x = self._layer("conv2_dw", x, 1, 1)
        for halving, residual in STAGES:
            x = self._block(halving, x, 2)
            number = 0
            while f"{residual}.model.{number}.project.conv.weight" in self._tensors:
                x = x + self._block(f"{residual}.model.{number}", x, 1)
                number += 1
        x = self._layer("conv_6_dw", self._layer("conv_6_sep", x))[:, :, 0, 0]
        x = self._norm("bn", (x @ self._tensors["linear.weight"].T)[:, :, None, None])[:, :, 0, 0]
        return x @ self._tensors["prob.weight"].T

    def _block(self, name: str, x: np.ndarray, stride: int) -> np.ndarray:
        x = self._layer(f"{name}.conv", x)
        x = self._layer(f"{name}.project", self._layer(f"{name}.conv_dw", x, stride, 1))
        if f"{name}.se_module.fc1.weight" not in self._tensors:
            return x
        shares = x.mean((2, 3), keepdims=True)
        shares = self._norm(f"{name}.se_module.bn1", self._convolve(f"{name}.se_module.fc1", shares))
        shares = self._convolve(f"{name}.se_module.fc2", np.maximum(shares, 0))
        return x / (1 + np.exp(-self._norm(f"{name}.se_module.bn2", shares)))

    def _layer(self, name: str, x: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
        x = self._norm(f"{name}.bn", self._convolve(f"{name}.conv", x, stride, padding))
        slopes = self._tensors.get(f"{name}.prelu.weight")
        return x if slopes is None else np.where(x > 0, x, x * slopes[:, None, None])

    def _convolve(self, name: str, x: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
        weights = self._tensors[f"{name}.weight"].astype(np.float64)
        framed = np.pad(x, [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2])
        windows = sliding_window_view(framed, weights.shape[2:], (2, 3))[:, :, ::stride, ::stride]
        if weights.shape[1] == 1:
            return np.einsum("ncyxij,cij->ncyx", windows, weights[:, 0])
        return np.einsum("ncyxij,fcij->nfyx", windows, weights, optimize=True)

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        mean, variance, gain, bias = (
            self._tensors[f"{name}.{part}"].astype(np.float64)[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + EPSILON) * gain + bias


@pytest.mark.parametrize("scale", EXPECTED)
def test_computes_what_pytorch_computes(photos, scale):
    probabilities = MiniFasNetwork(real(photos, scale)).probabilities(patterns())
    np.testing.assert_allclose(probabilities, EXPECTED[scale], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", EXPECTED)
def test_scores_of_photos(photos, scale):
    files = sorted([*(photos / "spoof").rglob("*.jpg"), *(photos / "faces" / "deepface").rglob("*.jpg")])[::7]
    crops = np.stack([cv2.resize(cv2.imread(str(file)), (SIDE, SIDE)) for file in files])
    tensors = real(photos, scale)
    probabilities = MiniFasNetwork(tensors).probabilities(crops)
    assert len(files) > BATCH
    assert np.ptp(probabilities[:, 1]) > 0.5  # both kinds are among them
    np.testing.assert_allclose(probabilities, WrittenOut(tensors).probabilities(crops), rtol=0, atol=1e-5)


@pytest.mark.parametrize("stages", WIDTHS)
def test_networks_of_any_width(stages):
    tensors = Random(32, *stages).tensors
    tensors["prob.weight"] /= np.abs(WrittenOut(tensors).logits(noise(3))).max()  # far from probabilities of 0 and 1
    network, written_out = MiniFasNetwork(tensors), WrittenOut(tensors)
    for crops in (noise(3), noise(1), noise(BATCH + 1)):  # nothing of the first call is left in the second
        np.testing.assert_allclose(network.probabilities(crops), written_out.probabilities(crops), rtol=0, atol=1e-5)


@pytest.mark.parametrize("stages", WIDTHS)
def test_stays_in_its_memory(stages, monkeypatch):
    """What lies around is no number: nothing of it is used, and nothing written there."""
    margin, around = 1 << 16, []

    def surrounded(size: int) -> np.ndarray:
        everything = np.full(size + 2 * margin, np.nan, np.float32)
        everything[margin:-margin] = 0
        around.extend((everything[:margin], everything[-margin:]))
        return everything[margin:-margin]

    tensors = Random(32, *stages).tensors
    expected = MiniFasNetwork(tensors).probabilities(noise(BATCH))
    monkeypatch.setattr(program, "_aligned", surrounded)
    np.testing.assert_array_equal(MiniFasNetwork(tensors).probabilities(noise(BATCH)), expected)
    assert len(around) == 6  # values, parameters, memory of their own
    assert all(np.isnan(part).all() for part in around)


@pytest.mark.parametrize("scale", EXPECTED)
def test_the_same_in_any_company(photos, scale):
    network = MiniFasNetwork(real(photos, scale))
    crops = noise(2 * BATCH + 3)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(network.probabilities, [crops] * 6))
    alone = np.concatenate([network.probabilities(crop[None]) for crop in crops])
    for probabilities in together:
        np.testing.assert_array_equal(probabilities, alone)


BROKEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a filter more": lambda tensor: np.concatenate([tensor, tensor[:1]]),
    "a channel more": lambda tensor: np.concatenate([tensor, tensor[:, :1]], axis=1) if tensor.ndim > 1 else tensor[0],
    "flat": lambda tensor: tensor.ravel() if tensor.ndim > 1 else tensor[None],
    "one number": lambda tensor: np.float32(1).reshape(()),
    "not finite": lambda tensor: np.full_like(tensor, np.nan),
    "too large": lambda tensor: np.full(tensor.shape, 1e38, np.float32),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_tensors_are_refused(broken: str):
    tensors = Random(32, (64, 13, 13), (32, 7), (32, 9, -8)).tensors
    MiniFasNetwork(tensors)
    for name, tensor in tensors.items():
        if broken == "too large" and name.endswith(("running_mean", "running_var")):
            continue  # a mean or variance of that size is a number like others
        with pytest.raises(ModelUnavailable):
            MiniFasNetwork(tensors | {name: BROKEN[broken](tensor)})
            pytest.fail(f"{name} was taken")


def test_networks_too_wide_are_refused():
    for stages in (((4097, 8), (8, 8), (8, 8)), ((8, 4097), (8, 8), (8, 8)), ((256, 8), (8, 8), (8, 8))):
        with pytest.raises(ModelUnavailable, match="too large"):
            MiniFasNetwork(Random(32, *stages).tensors)
