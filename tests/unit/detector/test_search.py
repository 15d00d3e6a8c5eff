"""services/detector/search.py and views.py: what is looked at how often, and where faces are then said to be."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.common.faces import Box, Face
from services.detector.cropping import framing
from services.detector.mtcnn import DetectOptions, Mtcnn
from services.detector.plausibility import quarter_turns
from services.detector.search import FINER, LARGE, QUICK, FaceSearch
from services.detector.views import PhotoView
from services.images.decode import ReducedPhoto
from tests.unit.detector.faces import face_at

#: Votes for a face as it stands, and for one that is upside down.
UPRIGHT, UPSIDE_DOWN = (0.999, 0.01, 0.05, 0.01), (0.5, 0.01, 0.999, 0.01)


@dataclass
class FakeFinder:
    """Finds what `see` sees in a picture; `votes_of` says what the last network thinks of a picture's faces."""

    see: Callable[[np.ndarray, DetectOptions], list[Face]]
    votes_of: Callable[[np.ndarray], tuple[float, ...]] = lambda image: UPRIGHT
    looks: list[tuple[tuple[int, ...], DetectOptions]] = field(default_factory=list)
    asked: int = 0

    def detect(self, image: np.ndarray, options: DetectOptions) -> list[Face]:
        self.looks.append((image.shape[:2], options))
        return self.see(image, options)

    def votes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        self.asked += len(boxes)
        return np.array([self.votes_of(image)] * len(boxes))


def photo(width: int = 400, height: int = 300, factor: int = 1) -> ReducedPhoto:
    """White at the top left corner, so that a finder sees how it is turned."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:20, :20] = 255
    return ReducedPhoto(pixels, factor, width * factor, height * factor)


def is_upright(image: np.ndarray) -> bool:
    return bool(image[0, 0, 0] == 255)


def turned(original: ReducedPhoto, clockwise: int) -> ReducedPhoto:
    pixels = np.ascontiguousarray(np.rot90(original.pixels, -clockwise))
    return ReducedPhoto(pixels, 1, pixels.shape[1], pixels.shape[0])


def never() -> ReducedPhoto:
    raise AssertionError("the photo is not to be decoded again")


def find(finder: FakeFinder, of: ReducedPhoto, enlarge: Callable[[], ReducedPhoto] = never) -> list[Face]:
    return FaceSearch(finder).find(of, enlarge)


def test_one_look_where_the_face_is_certain():
    finder = FakeFinder(lambda image, options: [face_at((200, 150), 100, confidence=0.9995)])
    found = find(finder, photo())
    assert len(found) == 1 and len(finder.looks) == 1 and finder.asked == 0


def test_one_look_where_the_network_likes_the_face_best_as_it_stands():
    finder = FakeFinder(lambda image, options: [face_at((200, 150), 100, confidence=0.95)])
    assert len(find(finder, photo())) == 1
    assert len(finder.looks) == 1 and finder.asked == 1


@pytest.mark.parametrize("clockwise", [1, 2, 3])
def test_a_face_in_a_turned_photo_is_found_where_it_is(clockwise):
    finder = FakeFinder(lambda image, options: [face_at((180, 120), 100, 5)] if is_upright(image) else [])
    original = photo()
    (upright,) = find(finder, original)
    (face,) = find(finder, turned(original, clockwise))
    assert quarter_turns(face.landmarks) == clockwise
    x, y = upright.landmarks.T
    expected = {1: (300 - y, x), 2: (400 - x, 300 - y), 3: (y, 400 - x)}[clockwise]
    assert np.allclose(face.landmarks, np.stack(expected, axis=1), atol=1e-3)
    assert face.box.width == pytest.approx(100) and face.box.height == pytest.approx(100)
    crops = [framing(one, 224, 224).apply(one.landmarks) for one in (upright, face)]
    assert np.allclose(*crops, atol=0.01)


def test_wrong_landmarks_on_an_upside_down_face_give_way_to_the_right_ones():
    """MTCNN says of it "upright, 0.97"; turned, it says 0.999."""

    def see(image, options):
        return [face_at((180, 120), 100) if is_upright(image) else face_at((220, 180), 100, confidence=0.97)]

    finder = FakeFinder(see, lambda image: UPRIGHT if is_upright(image) else UPSIDE_DOWN)
    (face,) = find(finder, turned(photo(), 2))
    assert quarter_turns(face.landmarks) == 2 and face.confidence == 1


def test_wrong_landmarks_are_no_face_where_there_are_no_right_ones():
    finder = FakeFinder(lambda image, options: [face_at((150, 150), 100, confidence=0.97)], lambda image: UPSIDE_DOWN)
    assert find(finder, photo()) == []


def test_landmarks_that_fit_no_face_are_none_at_any_confidence():
    face = face_at((200, 150), 100, 180)
    finder = FakeFinder(lambda image, options: [face])
    assert find(finder, photo()) == []


def test_of_an_upright_photo_no_face_is_lost_to_a_doubtful_one_beside_it():
    faces = [face_at((100, 150), 80, confidence=0.9995), face_at((300, 150), 80, confidence=0.9)]
    finder = FakeFinder(lambda image, options: faces if is_upright(image) else [], lambda image: (0.5, 0.01, 0.5, 0.01))
    assert [face.confidence for face in find(finder, photo())] == [0.9995, 0.9]
    assert len(finder.looks) == 2  # turned once, as the doubtful one may be


def test_nothing_found_takes_six_looks_and_no_more():
    finder = FakeFinder(lambda image, options: [])
    assert find(finder, photo()) == []
    sizes = [size for size, _ in finder.looks]
    assert sizes == [(300, 400), (400, 300), (400, 300), (300, 400), (540, 640), (300, 400)]
    assert [options for _, options in finder.looks] == [QUICK] * 5 + [FINER]


def test_a_large_photo_is_then_looked_at_in_more_pixels():
    """Found there, a face is where it is in the full photo."""
    large = photo(2000, 1500, 2)
    finder = FakeFinder(lambda image, options: [face_at((1000, 700), 60)] if options == LARGE else [])
    (face,) = find(finder, photo(1000, 750, 4), lambda: large)
    assert len(finder.looks) == 7 and finder.looks[-1][0] == (1500, 2000)
    assert np.allclose(face.landmarks, face_at((2000, 1400), 120).landmarks, atol=1e-2)


def test_a_face_beyond_the_border_is_one_while_the_photo_shows_its_landmarks():
    def see(centre):
        return lambda image, options: [face_at(centre, 450)] if image.shape[:2] == (540, 640) else []

    (face,) = find(FakeFinder(see((320, 270))), photo())
    assert np.allclose(face.landmarks, face_at((200, 150), 450).landmarks, atol=1e-2)
    assert (face.box.x, face.box.y) == (pytest.approx(-25), pytest.approx(-75))
    assert find(FakeFinder(see((100, 270))), photo()) == []


def test_a_crowd_is_not_asked_one_by_one():
    crowd = [face_at((10 * n, 100), 9, confidence=0.9) for n in range(500)]
    finder = FakeFinder(lambda image, options: crowd if is_upright(image) else [])
    assert len(find(finder, photo())) == 500
    assert finder.asked == 64


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("border", [0, 0.3])
def test_a_view_knows_the_way_back(turns, border):
    """A spot of the photo, found in a view of it, is where it was."""
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[240:260, 800:820] = 255
    view = PhotoView.of(ReducedPhoto(pixels, 4, 4800, 3600), 600).turned(turns).bordered(border)
    assert view.turns == turns % 4
    rows, columns = np.nonzero(view.pixels[:, :, 0] > 200)
    spot = (float(columns.mean()) + 0.5, float(rows.mean()) + 0.5)
    landmarks = np.tile(np.array(spot, np.float32), (5, 1))
    there = view.in_photo(Face(Box(spot[0] - 5, spot[1] - 10, 10, 20), landmarks, 0.9))
    assert np.allclose(there.landmarks, (810 * 4, 250 * 4), atol=5)
    sides = (80, 160) if turns % 2 == 0 else (160, 80)
    assert (there.box.width, there.box.height) == (pytest.approx(sides[0]), pytest.approx(sides[1]))
    assert there.box.x + there.box.width / 2 == pytest.approx(3240, abs=5)


def test_the_last_network_is_asked_all_four_ways():
    """Mtcnn.votes: what O-Net says of a picture's part, then of the same turned counter-clockwise."""

    class TopLeft:
        """Says how bright the top left corner is."""

        def run(self, outputs, inputs):
            corners = inputs["image"][:, :8, :8].mean(axis=(1, 2, 3)) / 255
            return [np.stack([1 - corners, corners], axis=1)]

    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:50, 50:] = 255  # top right: comes to the top left by one turn
    votes = Mtcnn(TopLeft(), TopLeft(), TopLeft()).votes(picture, np.array([[0.0, 0, 100, 100], [60, 5, 95, 40]]))
    assert votes.shape == (2, 4)
    assert np.allclose(votes[0], [0, 1, 0, 0], atol=0.05) and np.allclose(votes[1], 1, atol=0.05)
