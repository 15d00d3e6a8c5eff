"""How the liveness evaluation chooses thresholds, and for whom."""

from pathlib import Path

import pytest

from services.common.faces import Verdict
from services.liveness.minifasnet import Liveness
from tests.quality.evaluate_liveness import Judged, fit, group, held_out, held_out_rates


def judged(name, *scores):
    return [Judged(Path(f"{name}_{number}.jpg"), Liveness(Verdict.REAL, score)) for number, score in enumerate(scores)]


def test_fits_the_strictest_threshold_that_refuses_eight_in_a_hundred_of_no_kind():
    living = judged("nuaa_0001", 0.32, *[0.9] * 12)
    assert fit({"live": living, "print": judged("nuaa_0001", 0.95)}) == 0.9
    assert fit({"live": living * 10, "lfw": judged("A", 0.52, 0.93)}) == 0.5
    assert fit({"live": living + judged("nuaa_0002", 0.41)}) == 0.4
    unclear = [Judged(Path("nuaa_0001_x.jpg"), Liveness(Verdict.UNDECIDABLE, 0.0)), Judged(Path("x.jpg"), None)]
    assert fit({"live": living + unclear * 10}) == 0.9


@pytest.mark.parametrize(
    ("kind", "one", "other", "together"),
    [
        ("live", "spoof/live/nuaa_0003_01_00_01_23.jpg", "spoof/print/nuaa_0003_01_03_02_86.jpg", True),
        ("live", "spoof/live/nuaa_0003_01_00_01_23.jpg", "spoof/live/nuaa_0004_01_00_01_35.jpg", False),
        ("replay", "spoof/replay/silentface_image_F2_fake.jpg", "spoof/live/silentface_image_T1.jpg", True),
        ("replay", "spoof/replay/silentface_image_F2_fake.jpg", "spoof/replay/inspireface_rgb_fake.jpg", False),
        ("lfw", "lfw_dev/Al_Pacino/Al_Pacino_0001.jpg", "lfw_dev/Al_Pacino/Al_Pacino_0003.jpg", True),
        ("deepface", "deepface/id_1/img1.jpg", "deepface/id_2/img12.jpg", True),
    ],
)
def test_groups_have_a_source_in_common(kind, one, other, together):
    assert (group(kind, Path(one)) == group(kind, Path(other))) is together


def test_a_group_is_judged_at_the_threshold_of_the_others():
    all_of_them = {
        "print": judged("nuaa_0002", 0.5),
        "live": judged("nuaa_0001", *[0.92] * 10) + judged("nuaa_0002", *[0.42] * 10),
    }
    found = held_out(all_of_them)
    assert {name: threshold for name, (threshold, _) in found.items()} == {
        "NUAA's person 0001": 0.4,
        "NUAA's person 0002": 0.9,
    }
    prints, living = list(held_out_rates(all_of_them))[2:]
    assert prints == "| print | 1 | 0.9 | 0 | APCER 0.0% |"
    assert living == "| live | 20 | 0.4, 0.9 | 10 | BPCER 50.0% |"
