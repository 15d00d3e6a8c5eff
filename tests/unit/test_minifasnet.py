"""MiniFASNet: its graphs compute what PyTorch does, its crops are the authors', its verdicts are in order."""

import numpy as np
import pytest

from services.common.errors import ModelUnavailable
from services.common.faces import Box
from services.common.inference import open_session
from services.liveness import graph, ops, pth
from services.liveness.minifasnet import MiniFasNet, Verdict
from services.liveness.weights import minifasnet_files

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


def patterns():
    """uint8 (4, 80, 80, 3): folded slopes, made without a random generator."""
    k, y, x, c = np.ogrid[:4, :80, :80, :3]
    return np.abs((3 * x * (k + 1) + 2 * y * (c + 1) + 40 * k) % 510 - 255).astype(np.uint8)


@pytest.fixture
def files(photos):
    return {scale: photos / "weights" / "minifasnet" / file.name for scale, file in minifasnet_files().items()}


@pytest.mark.parametrize("scale", EXPECTED)
def test_computes_what_pytorch_computes(files, scale):
    session = open_session(graph.build(pth.read_state_dict(files[scale].read_bytes())))
    (probabilities,) = session.run(["probabilities"], {"crops": patterns()})
    np.testing.assert_allclose(probabilities, EXPECTED[scale], rtol=0, atol=1e-5)


# Crops


def test_a_crop_is_enlarged_about_its_middle():
    photo = np.zeros((400, 400, 3), np.uint8)
    photo[150:250, 150:250] = 255
    crop = ops.crop_around(photo, Box(175, 175, 50, 50), 4.0, 80)
    assert crop.shape == (80, 80, 3)
    np.testing.assert_array_equal(crop[:, 40, 0] > 127, [20 <= row < 60 for row in range(80)])


def test_a_crop_is_moved_inside_and_no_larger_than_the_photo():
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    crop = ops.crop_around(ramp, Box(190, 0, 20, 20), 4.0, 80)  # wants columns 160 to 240, gets the last 80
    assert (crop[0, 0, 0], crop[0, -1, 0]) == (119, 199)
    crop = ops.crop_around(ramp, Box(90, 10, 40, 40), 4.0, 80)  # wants 160 rows, there are 100
    assert crop[0, -1, 0] - crop[0, 0, 0] == pytest.approx(99, abs=1)


@pytest.mark.parametrize("box", [Box(-500, -500, 40, 40), Box(900, 9, 40, 40), Box(0, 0, 1e9, 1e-9), Box(5, 5, 1, 1e6)])
def test_any_box_gives_a_crop(box):
    assert ops.crop_around(np.zeros((60, 90, 3), np.uint8), box, 2.7, 80).shape == (80, 80, 3)


# Verdicts


class Network:
    """Takes the mean brightness of a crop for the probability of a living face."""

    def __init__(self):
        self.batches = []

    def run(self, outputs, feeds):
        crops = feeds["crops"]
        self.batches.append(crops.shape)
        real = crops.mean(axis=(1, 2, 3), dtype=np.float32) / 255
        return [np.stack([1 - real, real, 0 * real], axis=1)]


def test_verdicts_are_in_the_order_of_the_boxes():
    photo = np.zeros((300, 600, 3), np.uint8)
    photo[:, 300:] = 204
    bright, dark, whole = Box(440, 140, 40, 40), Box(100, 140, 40, 40), Box(0, 0, 300, 300)
    found = MiniFasNet({2.7: Network(), 4.0: Network()}, "1").check(photo, [bright, whole, dark])
    assert [face.verdict for face in found] == [Verdict.REAL, Verdict.UNDECIDABLE, Verdict.SPOOF]
    assert [face.score for face in found] == pytest.approx([0.8, 0, 0])


def test_the_threshold_itself_is_real():
    photo = np.full((300, 300, 3), 51, np.uint8)
    box = Box(100, 100, 50, 50)
    (face,) = MiniFasNet({2.7: Network()}, "1").check(photo, [box])
    assert face.verdict is Verdict.SPOOF
    assert MiniFasNet({2.7: Network()}, "1", face.score).check(photo, [box])[0].verdict is Verdict.REAL


@pytest.mark.parametrize(
    "box",
    [Box(50, 50, 220, 100), Box(150, 150, 31, 40), Box(-30, 100, 50, 50), Box(400, 400, 50, 50), Box(0, 0, 1e-3, 1e-3)],
)
def test_says_where_it_cannot_judge(box):
    network = Network()
    (face,) = MiniFasNet({2.7: network}, "1").check(np.zeros((300, 300, 3), np.uint8), [box])
    assert face.verdict is Verdict.UNDECIDABLE
    assert face.score == 0
    assert not network.batches


def test_many_faces_go_in_batches():
    network = Network()
    found = MiniFasNet({2.7: network}, "1").check(np.zeros((300, 300, 3), np.uint8), [Box(100, 100, 50, 50)] * 40)
    assert len(found) == 40
    assert [batch[0] for batch in network.batches] == [16, 16, 8]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        MiniFasNet({}, "1", threshold)


def test_refuses_other_networks(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"no network")
    with pytest.raises(ModelUnavailable, match="does not hold a MiniFASNet"):
        MiniFasNet.load({2.7: path})


def test_refuses_a_network_that_lacks_a_tensor(files, monkeypatch):
    read = pth.read_state_dict
    monkeypatch.setattr(pth, "read_state_dict", lambda data: dict(list(read(data).items())[:-1]))
    with pytest.raises(ModelUnavailable, match="prob.weight"):
        MiniFasNet.load(files)
