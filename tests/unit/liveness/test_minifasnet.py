"""MiniFASNet: its crops are the authors', its verdicts are in order."""

import numpy as np
import pytest

from services.common.errors import ModelUnavailable
from services.common.faces import Box, Verdict, View
from services.images.views import show
from services.liveness.minifasnet import SIDE, MiniFasNet
from tests.networks import brightness_classes, put_model

# Crops


def test_a_crop_is_enlarged_about_its_middle():
    photo = np.zeros((400, 400, 3), np.uint8)
    photo[150:250, 150:250] = 255
    crop = show(photo, Box(175, 175, 50, 50), View(4.0, 80, 120))
    assert crop.shape == (80, 80, 3)
    np.testing.assert_array_equal(crop[:, 40, 0] > 127, [20 <= row < 60 for row in range(80)])


def test_a_crop_is_moved_inside_and_no_larger_than_the_photo():
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    crop = show(ramp, Box(190, 0, 20, 20), View(4.0, 80, 120))  # wants columns 160 to 240, gets the last 80
    assert (crop[0, 0, 0], crop[0, -1, 0]) == (119, 199)
    crop = show(ramp, Box(90, 10, 40, 40), View(4.0, 80, 120))  # wants 160 rows, there are 100
    assert crop[0, -1, 0] - crop[0, 0, 0] == pytest.approx(99, abs=1)


@pytest.mark.parametrize("box", [Box(-500, -500, 40, 40), Box(900, 9, 40, 40), Box(0, 0, 1e9, 1e-9), Box(5, 5, 1, 1e6)])
def test_any_box_gives_a_crop(box):
    assert show(np.zeros((60, 90, 3), np.uint8), box, View(2.7, 80, 120)).shape == (80, 80, 3)


# Verdicts


class Network:
    """Takes the mean brightness of a crop for the probability of a living face."""

    def __init__(self):
        self.batches = []

    def run(self, outputs, feeds):
        crops = feeds["pixels"]
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


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        MiniFasNet({}, "1", threshold)


def test_opens_a_finished_model(tmp_path):
    model = put_model(tmp_path, "MiniFASNet", {"2.7": brightness_classes(), "4.0": brightness_classes(SIDE)})
    loaded = MiniFasNet.load(model, 0.3)
    version = "-".join(network.weights_sha256[:8] for network in model.networks.values())
    assert (loaded.name, loaded.version, loaded.threshold) == ("MiniFASNet", version, 0.3)
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[..., 1] = 200
    (face,) = loaded.check(photo, [Box(100, 100, 50, 50)])
    assert face.verdict is Verdict.REAL and face.score == pytest.approx(1)


def test_refuses_what_is_no_network(tmp_path):
    model = put_model(tmp_path, "MiniFASNet", {"2.7": b"no network"})
    with pytest.raises(ModelUnavailable, match="MiniFASNet in .* cannot be loaded"):
        MiniFasNet.load(model)
