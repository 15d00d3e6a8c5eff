"""Liveness on real photos, with boxes by the detector: few attacks pass, few living faces are refused."""

import functools

import cv2
import pytest

from services.common.faces import Box, Verdict
from services.detector.mtcnn import DetectOptions
from services.images.decode import decode
from tests.quality.evaluate_liveness import ATTACKS, Judge, error_rate, photos_of, summary


@pytest.fixture(scope="module")
def judge(photos):
    return Judge.load(photos)


@pytest.fixture(scope="module")
def judged(judge, photos):
    """The verdicts on the photos of a kind, made once."""
    return functools.cache(lambda kind: [judge(photo) for photo in photos_of(photos, kind, 150)])


@pytest.mark.parametrize(
    ("kind", "most"), [("print", 0.0), ("replay", 0.0), ("live", 0.02), ("lfw", 0.08), ("deepface", 0.10)]
)
def test_error_rates(judge, judged, kind, most):
    threshold = judge.model.threshold
    print("\n" + "\n".join(summary({kind: judged(kind)}, threshold)))
    assert error_rate(judged(kind), kind in ATTACKS, threshold) <= most


def test_videos_of_screens_are_refused_and_those_of_living_people_are_not(judge, photos):
    folder = photos / "spoof" / "video"
    if not folder.is_dir():
        pytest.skip(f"the videos' frames are not at {folder}")
    for frame in sorted(folder.glob("*.jpg")):
        face = judge(frame).face
        if face and face.verdict is not Verdict.UNDECIDABLE:
            assert (face.verdict is Verdict.REAL) == frame.name.startswith("live_"), frame.name


@pytest.mark.parametrize("kind", ["print", "live", "lfw", "deepface"])
def test_photos_as_people_take_them_can_be_judged(judged, kind):
    items = judged(kind)
    silent = [item for item in items if item.face is None or item.face.verdict is Verdict.UNDECIDABLE]
    assert len(silent) <= 0.05 * len(items)


@pytest.mark.parametrize("kind", ["print", "live"])
def test_a_tight_crop_is_not_judged(judge, photos, kind):
    photo = decode(photos_of(photos, kind, 10)[0].read_bytes())
    box = judge.finder.detect(photo, DetectOptions())[0].box
    left, top = max(int(box.x), 0), max(int(box.y), 0)
    crop = photo[top : top + int(box.height), left : left + int(box.width)]
    (face,) = judge.model.check(crop, [Box(box.x - left, box.y - top, box.width, box.height)])
    assert face.verdict is Verdict.UNDECIDABLE


def test_a_smaller_copy_is_not_judged_once_it_is_tiny(judge, photos):
    photo = decode(photos_of(photos, "live", 10)[0].read_bytes())
    box = judge.finder.detect(photo, DetectOptions())[0].box
    factor = 24 / box.width
    small = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    (face,) = judge.model.check(small, [Box(*(v * factor for v in (box.x, box.y, box.width, box.height)))])
    assert face.verdict is Verdict.UNDECIDABLE
