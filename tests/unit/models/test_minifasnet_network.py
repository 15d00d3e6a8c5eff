"""MiniFASNet as an ONNX model against PyTorch's numbers and the same layers written out."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from deploy.models.formats import BrokenFile, pth
from deploy.models.networks.minifasnet import EPSILON, SIDE, STAGES, build
from deploy.models.sources import MINIFASNET, networks_of
from services.common.onnx import open_session

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
    (file,) = networks_of(MINIFASNET)[str(scale)]
    return pth.read_state_dict((photos / "weights" / "minifasnet" / file.name).read_bytes())


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


def probabilities(tensors: Tensors, crops: np.ndarray) -> np.ndarray:
    """Those of the model that is built of the tensors."""
    session = open_session(build(tensors).SerializeToString())
    return session.run(["probabilities"], {"pixels": crops.astype(np.float32)})[0]


@pytest.mark.parametrize("scale", EXPECTED)
def test_computes_what_pytorch_computes(photos, scale):
    np.testing.assert_allclose(probabilities(real(photos, scale), patterns()), EXPECTED[scale], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", EXPECTED)
def test_scores_of_photos(photos, scale):
    files = sorted([*(photos / "spoof").rglob("*.jpg"), *(photos / "faces" / "deepface").rglob("*.jpg")])[::90]
    crops = np.stack([cv2.resize(cv2.imread(str(file)), (SIDE, SIDE)) for file in files])
    tensors = real(photos, scale)
    found = probabilities(tensors, crops)
    assert np.ptp(found[:, 1]) > 0.5  # both kinds are among them
    np.testing.assert_allclose(found, WrittenOut(tensors).probabilities(crops), rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities(tensors, crops[:1]), found[:1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("stages", WIDTHS)
def test_networks_of_any_width(stages):
    tensors = Random(32, *stages).tensors
    tensors["prob.weight"] /= np.abs(WrittenOut(tensors).logits(noise(2))).max()  # far from probabilities of 0 and 1
    expected = WrittenOut(tensors).probabilities(noise(2))
    np.testing.assert_allclose(probabilities(tensors, noise(2)), expected, rtol=0, atol=1e-5)


BROKEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a filter more": lambda tensor: np.concatenate([tensor, tensor[:1]]),
    "a channel more": lambda tensor: np.concatenate([tensor, tensor[:, :1]], axis=1) if tensor.ndim > 1 else tensor[0],
    "flat": lambda tensor: tensor.ravel() if tensor.ndim > 1 else tensor[None],
    "one number": lambda tensor: np.float32(1).reshape(()),
    "not finite": lambda tensor: np.full_like(tensor, np.nan),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_tensors_are_refused(broken: str):
    tensors = Random(32, (64, 13, 13), (32, 7), (32, 9, -8)).tensors
    for name, tensor in tensors.items():
        with pytest.raises(BrokenFile):
            build(tensors | {name: BROKEN[broken](tensor)})
            pytest.fail(f"{name} was taken")


def test_missing_tensors_are_refused():
    tensors = Random(32, (64, 13, 13), (32, 7), (32, 9, -8)).tensors
    build(tensors)
    for name in tensors:
        with pytest.raises(BrokenFile):
            build({other: tensor for other, tensor in tensors.items() if other != name})
            pytest.fail(f"{name} was not missed")
