"""Finding the faces of a photo: a quick look that nearly always suffices, others where it may be turned by quarters, and
close ones where nothing was found.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.common import call
from services.common.faces import Box, Face
from services.detector import plausibility
from services.detector.mtcnn import DetectOptions, Finder
from services.detector.views import PhotoView
from services.images.decode import ReducedPhoto

#: The search that nobody described otherwise.
QUICK = DetectOptions()

#: Smaller faces, and such of which MTCNN is less sure, as mtcnn 1.0.0 looks for them.
FINER = DetectOptions(min_face_px=20, min_confidence=0.8)

#: Small faces of a large photo, of which the quick look sees 640 pixels only.
LARGE = DetectOptions(min_face_px=32, max_side_px=2048)

#: The border that makes room about a face that fills the photo, over the photo's longer side.
BORDER = 0.3

#: The order in which turned photos are tried, quarters counter-clockwise: most lie on their side.
TURNS = 1, 3, 2

#: What a face's preference is worth more where it is found in the photo as it was sent: most are sent upright.
AS_SENT = 2.0

#: So many faces of a picture are asked how they like it turned, at most: a bound on the work.
MOST_ASKED = 64


@dataclass(frozen=True)
class Findings:
    """What one look at a photo found.

    Attributes:
        turns: by how many quarters, counter-clockwise, the photo was turned.
        faces: with landmarks that lie as a face's, highest confidence first; in the photo's pixels.
        preferences: of each, see services.detector.plausibility.preference.
        suspected: by how many quarters more it is to be turned, in the opinion of what may be turned faces.
    """

    turns: int
    faces: tuple[Face, ...]
    preferences: tuple[float, ...]
    suspected: frozenset[int]

    @property
    def best(self) -> float:
        """The largest preference."""
        return max(self.preferences, default=-math.inf)

    @property
    def rank(self) -> float:
        """How well the photo reads this way round."""
        return self.best + (AS_SENT if self.turns == 0 else 0)

    def sound(self) -> list[Face]:
        """The faces that are to be believed."""
        least = plausibility.REFUSED if self.turns == 0 else plausibility.WANTED
        return self.at_least(least)

    def at_least(self, preference: float) -> list[Face]:
        """The faces of that preference or more."""
        return [face for face, its in zip(self.faces, self.preferences, strict=True) if its >= preference]


class FaceSearch:
    """Searches photos. Safe to call from several threads."""

    def __init__(self, finder: Finder):
        self._finder = finder

    def find(self, photo: ReducedPhoto, enlarge: Callable[[], ReducedPhoto]) -> list[Face]:
        """The faces of a photo, highest confidence first; boxes may reach beyond it.

        Where the photo is turned by quarters its faces are too: their landmarks say so. What only seems to be a face as
        the picture stands is none.

        Args:
            photo: decoded at the quick look's size or more.
            enlarge: gives it at LARGE's longer side or more, if it has so many pixels; called only where a photo that
                has more than the quick look sees showed no face in it.

        Returns:
            Faces in the full photo's pixels.

        Raises:
            What `enlarge` raises.
        """
        view = PhotoView.of(photo, QUICK.search_side_px)
        best = max(self._search_turned(view), key=lambda look: look.rank)
        return best.sound() or self._search_closely(view, photo, enlarge)

    def _search_turned(self, view: PhotoView) -> list[Findings]:
        """A quick look, and others turned, where the first leaves doubt, until one leaves none."""
        looks = [self._search_view(view, QUICK, plausibility.SURE)]
        suspected = looks[0].suspected
        for turns in sorted(TURNS, key=lambda turns: turns not in suspected):
            if turns not in suspected and max(look.best for look in looks) >= plausibility.DOUBTED:
                break
            looks.append(self._search_view(view.turned(turns), QUICK))
        return looks

    def _search_closely(self, view: PhotoView, photo: ReducedPhoto, enlarge: Callable[[], ReducedPhoto]) -> list[Face]:
        """Looks in the order of their cost, until one finds a face all of whose landmarks the photo shows."""
        found = self._whole_faces(view.bordered(BORDER), QUICK, photo) or self._whole_faces(view, FINER, photo)
        if found or max(photo.full_width, photo.full_height) <= QUICK.search_side_px:
            return found
        return self._whole_faces(PhotoView.of(enlarge(), LARGE.search_side_px), LARGE, photo)

    def _whole_faces(self, view: PhotoView, options: DetectOptions, photo: ReducedPhoto) -> list[Face]:
        size = photo.full_width, photo.full_height
        faces = self._search_view(view, options).at_least(plausibility.WANTED)
        return [face for face in faces if (face.landmarks >= 0).all() and (face.landmarks <= size).all()]

    def _search_view(self, view: PhotoView, options: DetectOptions, sure: float = 1.0) -> Findings:
        """One look; faces of a confidence of `sure` and more are not asked how they like the picture turned."""
        call.check()
        found = self._finder.detect(view.pixels, options)
        fitting = [plausibility.fits_a_face(face.landmarks) for face in found]
        asked = [at for at, face in enumerate(found) if face.confidence < sure or not fitting[at]][:MOST_ASKED]
        answers = dict(zip(asked, self._ask(view, [found[at] for at in asked]), strict=True))
        unasked = math.inf if len(asked) < MOST_ASKED else plausibility.DOUBTED
        preferences = [answers[at][0] if at in answers else unasked for at in range(len(found))]
        kept = [at for at in range(len(found)) if fitting[at]]
        return Findings(
            view.turns,
            tuple(view.in_photo(found[at]) for at in kept),
            tuple(preferences[at] for at in kept),
            frozenset(
                turns
                for at, (preference, turns) in answers.items()
                if preference < plausibility.DOUBTED or not fitting[at]
            ),
        )

    def _ask(self, view: PhotoView, faces: Sequence[Face]) -> list[tuple[float, int]]:
        """What plausibility.preference says of faces of a view: by one square, by both where that leaves doubt."""
        votes = self._vote(view, faces, plausibility.SQUARES[0])
        answers = [plausibility.preference(*of_one) for of_one in zip(faces, votes, strict=True)]
        unclear = [at for at, (preference, _) in enumerate(answers) if preference < plausibility.CLEAR]
        more = self._vote(view, [faces[at] for at in unclear], plausibility.SQUARES[1])
        for at, of_other in zip(unclear, more, strict=True):
            answers[at] = plausibility.preference(faces[at], np.concatenate([votes[at], of_other]))
        return answers

    def _vote(self, view: PhotoView, faces: Sequence[Face], square: float) -> np.ndarray:
        """What the last network says of a square about each face, (n, 1, 4); see plausibility.preference."""
        boxes = np.array([_square(face.box, square) for face in faces]).reshape(-1, 4)
        return self._finder.votes(view.pixels, boxes)[:, None] if faces else np.empty((0, 1, 4))


def _square(box: Box, size: float) -> tuple[float, float, float, float]:
    """The square about the middle of a box with sides of `size` times its longer one; see services.detector.ops."""
    x, y, half = box.x + box.width / 2, box.y + box.height / 2, size * max(box.width, box.height) / 2
    return x - half, y - half, x + half, y + half
