"""The detector's work, one method a call: bytes of a photo in, frozen results out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common import call
from services.common.errors import InvalidRequest
from services.common.faces import Box, Face, FaceCrop, View
from services.common.models import FinishedModel
from services.common.onnx import open_session
from services.detector import quality, search
from services.detector.augmentation import MAX_COUNT, augment
from services.detector.cropping import cut_face, framing
from services.detector.mtcnn import Bounds, DetectOptions, Finder, Mtcnn
from services.detector.plausibility import quarter_turns
from services.detector.yunet import YuNet
from services.images.decode import ReducedPhoto, decode, decode_for, decode_reduced
from services.images.views import halved, show, shrink_for

#: The model workshop's names of the networks.
MODEL, YUNET = "MTCNN", "YuNet"

#: Sides of a crop, pixels.
MIN_CROP, MAX_CROP = 32, 1024

#: Pixels of all crops of one answer: they and the views of faces must fit a message, at three bytes each. Of a crowd only
#: the most confident faces are prepared (318 of them at 224 x 224, 63 with four changed versions each).
MAX_PREPARED_PIXELS = 16_000_000

#: Pixels of all faces as networks see them, at most.
MAX_SHOWN_PIXELS = 4_000_000


@dataclass(frozen=True)
class Detected:
    """Faces of a photo, highest confidence first, and the upright photo's size; all in its pixels."""

    width: int
    height: int
    faces: list[Face]


@dataclass(frozen=True)
class PreparedFace:
    """A face in the photo's frame, cut out, and changed versions of the cut-out."""

    face: Face
    crop: FaceCrop
    augmented: list[FaceCrop]


@dataclass(frozen=True)
class Prepared:
    """The photo as it was decoded for the search, and its faces, highest confidence first."""

    photo: ReducedPhoto
    faces: list[PreparedFace]

    def shown(self, views: Sequence[View]) -> list[tuple[np.ndarray, ...]]:
        """Of each face uint8 (side, side, 3), BGR, for each view.

        Returns:
            Nothing for any face where one is turned, or smaller in the photo as it was decoded than a view wants it, or
            they are too many.
        """
        boxes = [one.face.box for one in self.faces]
        if not boxes or len(boxes) * sum(view.side**2 for view in views) > MAX_SHOWN_PIXELS:
            return [()] * len(boxes)
        shrinks = {view.face_px: shrink_for(boxes, view.face_px) for view in views}
        if self.photo.factor > max(1, min(shrinks.values())):
            return [()] * len(boxes)
        if any(quarter_turns(one.face.landmarks) for one in self.faces):
            return [()] * len(boxes)
        photos = {face_px: halved(self.photo, shrink) for face_px, shrink in shrinks.items()}
        return [tuple(_shown(photos[view.face_px], box, view) for view in views) for box in boxes]


class Detector:
    """Finds, cuts out and judges. Safe to call from several threads."""

    def __init__(self, finder: Finder):
        self._finder = finder
        self._search = search.FaceSearch(finder)

    def detect_faces(self, data: bytes, options: DetectOptions) -> Detected:
        """Where the faces of a photo are.

        Raises:
            InvalidImage, ImageTooLarge: see services.images.decode.decode.
        """
        photo, faces = self._find(data, options)
        return Detected(photo.full_width, photo.full_height, faces)

    def prepare_faces(
        self, data: bytes, width: int, height: int, augmentations: int, options: DetectOptions
    ) -> Prepared:
        """The faces of a photo (see MAX_PREPARED_PIXELS), cut out at width x height pixels, each with changed versions.

        Args:
            data: the photo's file.
            width, height: of each crop, MIN_CROP to MAX_CROP pixels.
            augmentations: changed versions of each face, 0 to 64.
            options: how to search.

        Raises:
            InvalidRequest: a number out of its range.
            InvalidImage, ImageTooLarge: see services.images.decode.decode.
        """
        _check_range("width", width, MIN_CROP, MAX_CROP)
        _check_range("height", height, MIN_CROP, MAX_CROP)
        _check_range("augmentations", augmentations, 0, MAX_COUNT)
        photo, faces = self._find(data, options)
        faces = faces[: max(1, MAX_PREPARED_PIXELS // (width * height * (1 + augmentations)))]
        sharp = _sharp_enough(photo, data, faces, width, height)
        prepared = []
        for face in faces:
            call.check()
            crop = cut_face(sharp.pixels, _scaled(face, 1 / sharp.factor), width, height)
            prepared.append(PreparedFace(face, crop, augment(crop, augmentations)))
        return Prepared(photo, prepared)

    def score_image(self, data: bytes) -> quality.Quality:
        """How good a photo is for recognition.

        Raises:
            InvalidImage, ImageTooLarge: see services.images.decode.decode.
        """
        return quality.score_image(decode(data))

    def _find(self, data: bytes, options: DetectOptions) -> tuple[ReducedPhoto, list[Face]]:
        """The photo, no larger than the search needs it, and the faces in the full photo's pixels."""
        photo = decode_for(data, options.search_side_px)
        if options == search.QUICK:
            return photo, self._search.find(photo, lambda: _enlarged(data, photo))
        return photo, [_scaled(face, photo.factor) for face in self._finder.detect(photo.pixels, options)]


def open_finder(model: FinishedModel, bounds: Bounds | None = None) -> Mtcnn:
    """A face finder of MTCNN's networks."""
    pnet, rnet, onet = (open_session(model.path(network)) for network in ("pnet", "rnet", "onet"))
    return Mtcnn(pnet, rnet, onet, bounds)


def open_yunet(model: FinishedModel, mtcnn: Mtcnn) -> YuNet:
    """A face finder of YuNet, which MTCNN's last network helps."""
    return YuNet(open_session(model.path("detector")), mtcnn)


def _enlarged(data: bytes, photo: ReducedPhoto) -> ReducedPhoto:
    """A photo that was decoded for the quick look, in as many pixels as a close one wants."""
    side = search.LARGE.search_side_px
    shrink = max(photo.full_width, photo.full_height) / side
    return photo if photo.factor <= max(shrink, 1) else decode_for(data, side)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequest(f"{name} is {value}; {low} to {high} fit")


def _sharp_enough(photo: ReducedPhoto, data: bytes, faces: list[Face], width: int, height: int) -> ReducedPhoto:
    """The photo, decoded anew if it was reduced below what the crops' pixels need."""
    if photo.factor == 1 or not faces:
        return photo
    shrink = min(1 / framing(face, width, height).scale for face in faces)
    return photo if shrink >= photo.factor else decode_reduced(data, shrink)


def _shown(photo: ReducedPhoto, box: Box, view: View) -> np.ndarray:
    return show(photo.pixels, box.scaled(1 / photo.factor), view)


def _scaled(face: Face, factor: float) -> Face:
    if factor == 1:
        return face
    return Face(face.box.scaled(factor), (face.landmarks * factor).astype(np.float32), face.confidence)
