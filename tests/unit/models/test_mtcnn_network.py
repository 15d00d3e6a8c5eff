"""MTCNN's networks as ONNX models against their layers written out, of weights made up."""

import io

import joblib
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from deploy.models.formats import BrokenFile
from deploy.models.formats.mtcnn_joblib import read_weights
from deploy.models.networks.mtcnn import build
from services.common.onnx import open_session

RANDOM = np.random.default_rng(3)

#: Filters and window of each convolution, and the pooling after it: side, and whether it reaches beyond the border.
CONVOLUTIONS = {
    "pnet": [(10, 3, (2, True)), (16, 3, None), (32, 3, None)],
    "rnet": [(28, 3, (3, True)), (48, 3, (3, False)), (64, 2, None)],
    "onet": [(32, 3, (3, True)), (64, 3, (3, False)), (64, 3, (2, True)), (128, 2, None)],
}
#: What the convolutions of R-Net and O-Net leave, and units of the dense layer.
FEATURES = {"rnet": (576, 128), "onet": (1152, 256)}
HEADS = {"rnet": ("regression", "probability"), "onet": ("regression", "landmarks", "probability")}
SIZES = {"regression": 4, "landmarks": 10, "probability": 2}
SIDES = {"rnet": 24, "onet": 48}


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(scale=np.prod(shape[:-1]) ** -0.5, size=shape).astype(np.float32)


def made_up(name: str, least_slope: float, most_slope: float) -> list[np.ndarray]:
    """A network's weights in the package's order and layouts."""
    weights, channels = [], 3
    for filters, side, _ in CONVOLUTIONS[name]:
        slopes = RANDOM.uniform(least_slope, most_slope, (1, 1, filters)).astype(np.float32)
        weights += [normal(side, side, channels, filters), normal(filters), slopes]
        channels = filters
    if name == "pnet":
        return [*weights, normal(1, 1, channels, 4), normal(4), normal(1, 1, channels, 2), normal(2)]
    features, units = FEATURES[name]
    weights += [normal(features, units), normal(units), RANDOM.uniform(-1, 2, units).astype(np.float32)]
    return weights + [part for head in HEADS[name] for part in (normal(units, SIZES[head]), normal(SIZES[head]))]


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """TensorFlow's valid convolution of (n, height, width, channels)."""
    windows = sliding_window_view(x, kernel.shape[:2], (1, 2))
    return np.einsum("nyxcij,ijcf->nyxf", windows, kernel, optimize=True) + bias


def pool(x: np.ndarray, side: int, same: bool) -> np.ndarray:
    """TensorFlow's max pooling with stride 2."""
    if same:
        missing = [max(0, (-(-size // 2) - 1) * 2 + side - size) for size in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *((many // 2, many - many // 2) for many in missing), (0, 0)], constant_values=-np.inf)
    return sliding_window_view(x, (side, side), (1, 2))[:, ::2, ::2].max((4, 5))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def expected(name: str, weights: list[np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """What TensorFlow computes of BGR pixels, in float64."""
    rest = iter([part.astype(np.float64) for part in weights])
    x = (images[..., ::-1].astype(np.float64) - 127.5) / 128
    for _, _, pooling in CONVOLUTIONS[name]:
        x = convolve(x, next(rest), next(rest))
        x = np.where(x > 0, x, x * next(rest))
        x = pool(x, *pooling) if pooling else x
    if name == "pnet":
        regression = convolve(x, next(rest), next(rest))
        return {"maps": np.concatenate([convolve(x, next(rest), next(rest)), regression], axis=3).transpose(0, 3, 1, 2)}
    x = x.transpose(0, 2, 1, 3).reshape(len(x), -1) @ next(rest) + next(rest)
    x = np.where(x > 0, x, x * next(rest))
    outputs = {head: x @ next(rest) + next(rest) for head in HEADS[name]}
    return outputs | {"probability": softmax(outputs["probability"])}


@pytest.mark.parametrize("slopes", [(0, 1), (-0.5, 0.5), (-1, 2)])
@pytest.mark.parametrize(("name", "sizes"), [("pnet", [(12, 12), (31, 40)]), ("rnet", [()]), ("onet", [()])])
def test_computes_what_the_package_computes(name, sizes, slopes):
    weights = made_up(name, *slopes)
    session = open_session(build(name, weights).SerializeToString())
    for size in sizes:
        images = RANDOM.uniform(0, 255, (2, *(size or [SIDES[name]] * 2), 3)).astype(np.float32)
        for output, values in expected(name, weights, images).items():
            (found,) = session.run([output], {"image": images})
            np.testing.assert_allclose(found, values, rtol=0, atol=1e-5 * max(1, np.abs(values).max()))


def test_no_window_at_all():
    session = open_session(build("rnet", made_up("rnet", 0, 1)).SerializeToString())
    (found,) = session.run(["regression"], {"image": np.zeros((0, 24, 24, 3), np.float32)})
    assert found.shape == (0, 4)


def test_weight_files_are_read_by_path_or_as_bytes(tmp_path):
    file = tmp_path / "pnet.lz4"
    joblib.dump([np.eye(2), np.ones(3)], file, compress="lz4")
    for given in (file, file.read_bytes()):
        first, second = read_weights(given)
        assert first.tolist() == np.eye(2).tolist() and second.tolist() == [1, 1, 1]


@pytest.mark.parametrize("content", [{"a": np.ones(2)}, [1, 2], None])
def test_other_content_is_refused(content):
    file = io.BytesIO()
    joblib.dump(content, file)
    with pytest.raises(BrokenFile):
        read_weights(file.getvalue())
