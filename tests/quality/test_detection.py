"""The face finder on real photos, and against mtcnn 1.0.0 on TensorFlow, the implementation it follows."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from reco.detector.v1 import detector_pb2
from reco.types.v1 import face_pb2

from deploy.local import demo
from services.common.errors import InvalidRequest
from services.common.faces import Box, Face, View
from services.common.limits import MAX_MESSAGE_BYTES
from services.common.workers import Workers
from services.detector.model import MAX_SHOWN_PIXELS, MODEL, Detector, open_finder
from services.detector.mtcnn import Bounds, DetectOptions, Mode, Mtcnn
from services.detector.servicer import DetectorServicer
from services.images.decode import decode
from services.images.views import show
from tests.models import finished

#: What mtcnn 1.0.0 says (TensorFlow 2.21; `detect_faces(…, output_type="numpy", fit_to_image=False,
#: box_format="xyxy")`): left, top, right, bottom, confidence, five x, five y.
REFERENCE = {
    "as it is": [
        [181.598, 63.726, 264.553, 171.079, 0.999, 203.541, 245.409, 224.224, 201.789, 244.389,
         100.103, 102.238, 126.420, 138.587, 140.377],
    ],
    "mirrored": [
        [241.673, 62.073, 330.710, 170.533, 1.000, 265.360, 307.899, 287.905, 266.376, 310.299,
         102.898, 100.460, 127.463, 140.064, 137.912],
    ],
    "half size": [
        [90.190, 32.157, 132.135, 85.506, 0.999, 101.334, 122.834, 112.160, 100.278, 122.086,
         49.650, 50.906, 63.492, 68.845, 70.169],
    ],
    "three": [
        [601.458, 29.688, 645.938, 86.842, 1.000, 613.820, 635.366, 624.412, 612.729, 634.367,
         49.398, 50.807, 63.087, 68.890, 70.030],
        [634.370, 290.618, 676.172, 341.484, 1.000, 644.290, 665.586, 655.642, 645.123, 667.029,
         307.468, 306.309, 320.019, 326.345, 325.420],
        [180.919, 60.168, 266.383, 171.842, 0.998, 203.394, 245.732, 224.613, 200.624, 245.036,
         100.150, 102.375, 127.699, 138.375, 139.875],
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return open_finder(finished(MODEL))


@pytest.fixture(scope="module")
def detector(mtcnn: Mtcnn) -> Detector:
    return Detector(mtcnn)


def astronaut(variant: str) -> np.ndarray:
    """NASA's portrait of Eileen Collins (scikit-image, public domain), BGR, in the variants of REFERENCE."""
    image = demo.astronaut()
    small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    return {
        "as it is": image,
        "mirrored": np.ascontiguousarray(image[:, ::-1]),
        "half size": small,
        "three": np.hstack([image, np.vstack([small, small[:, ::-1]])]),
    }[variant]


def rows(faces: list[Face]) -> np.ndarray:
    """Faces as the reference gives them, (n, 15)."""
    return np.array(
        [
            [f.box.x, f.box.y, f.box.x + f.box.width, f.box.y + f.box.height, f.confidence, *f.landmarks.T.ravel()]
            for f in faces
        ]
    ).reshape(-1, 15)


def shrunk(path: Path) -> np.ndarray:
    image = decode(path.read_bytes())
    ratio = min(1, 640 / max(image.shape))
    return cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)


def some(photos: Path, pattern: str, step: int = 1) -> Iterator[Path]:
    found = sorted((photos / "faces").glob(pattern))[::step]
    assert found, f"no {pattern} in {photos}"
    yield from found


@pytest.mark.parametrize("variant", REFERENCE)
def test_faithful_gives_the_references_numbers(mtcnn, variant):
    found = rows(mtcnn.detect(astronaut(variant), DetectOptions.reference()))
    expected = np.array(REFERENCE[variant])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.01


def test_faithful_beside_the_reference(mtcnn, photos):
    """The same on real photos, where TensorFlow is installed (78 photos: at worst 0.0064 pixels)."""
    pytest.importorskip("tensorflow")
    from mtcnn import MTCNN

    reference = MTCNN()
    for path in some(photos, "deepface/*/*.jpg", 6):
        image = shrunk(path)
        expected = reference.detect_faces(
            np.ascontiguousarray(image[:, :, ::-1]), output_type="numpy", fit_to_image=False, box_format="xyxy"
        )
        found = rows(mtcnn.detect(image, DetectOptions.reference()))
        assert found.shape[0] == len(expected)
        assert np.abs(found - np.array(expected)[:, 1:]).max() < 0.02, path


@pytest.mark.parametrize("strip_pixels", [50_000, 10_000_000])
def test_strips_change_nothing(mtcnn, strip_pixels):
    """P-Net over a large level is computed in strips, to bound memory."""
    image = cv2.resize(astronaut("three"), None, fx=2, fy=2)
    other = open_finder(finished(MODEL), Bounds(strip_pixels=strip_pixels))
    found, expected = (rows(finder.detect(image, DetectOptions.reference())) for finder in (other, mtcnn))
    assert np.abs(found - expected).max() < 0.01


def test_fast_is_near_faithful(mtcnn, photos):
    """Mean difference of the box's sides 1.7 % of the face, of the landmarks 0.6 % (78 photos)."""
    boxes, landmarks = [], []
    for path in some(photos, "deepface/[i_][du]*/*.jpg", 3):
        image = shrunk(path)
        slow, fast = (rows(mtcnn.detect(image, o))[0] for o in (DetectOptions.reference(), DetectOptions()))
        width = slow[2] - slow[0]
        boxes.append(np.abs(slow[:4] - fast[:4]).mean() / width)
        landmarks.append(np.abs(slow[5:] - fast[5:]).mean() / width)
    assert np.mean(boxes) < 0.025 and np.mean(landmarks) < 0.01


def test_one_face_in_every_photo_of_one_person(detector, photos):
    paths = list(some(photos, "deepface/id_*/*.jpg")) + list(some(photos, "deepface/_unlabelled/*.jpg", 2))
    counts = [len(detector.detect_faces(path.read_bytes(), DetectOptions()).faces) for path in paths]
    assert min(counts) == 1, "a face is missed"
    assert np.mean(np.array(counts) == 1) >= 0.95


def test_several_faces_where_there_are_several(detector, photos):
    for name, least in {"couple": 2, "stock-1": 2, "stock-2": 4, "stock-3": 2, "stock-6-v2": 4, "img54": 2}.items():
        path = photos / "faces" / "deepface" / "_group" / f"{name}.jpg"
        found = detector.detect_faces(path.read_bytes(), DetectOptions()).faces
        assert len(found) >= least, name
        confidences = [face.confidence for face in found]
        assert confidences == sorted(confidences, reverse=True)


def test_no_face_where_there_is_none(detector, photos):
    for path in some(photos, "noface/*.jpg"):
        assert detector.detect_faces(path.read_bytes(), DetectOptions()).faces == [], path.name


def test_faces_are_found_in_lfw(detector, photos):
    found = [
        len(detector.detect_faces(path.read_bytes(), DetectOptions()).faces)
        for path in some(photos, "lfw_dev/*/*.jpg", 40)
    ]
    assert min(found) >= 1


def test_a_tight_crop_without_surroundings_is_still_a_face(mtcnn):
    face = mtcnn.detect(astronaut("as it is"), DetectOptions())[0].box
    tight = astronaut("as it is")[int(face.y) : int(face.y + face.height), int(face.x) : int(face.x + face.width)]
    for side in (112, 160, 224):
        assert len(mtcnn.detect(cv2.resize(tight, (side, side)), DetectOptions())) == 1


def test_the_frame_is_the_full_upright_photos(detector):
    """Whatever is decoded reduced, turned or shrunk inside."""
    large = cv2.resize(astronaut("as it is"), None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", large)[1].tobytes()
    found = detector.detect_faces(data, DetectOptions())
    assert (found.width, found.height) == (3072, 3072)
    assert np.abs(rows(found.faces)[0] / 6 - REFERENCE["as it is"][0])[5:].max() < 3
    prepared = detector.prepare_faces(data, 224, 200, 3, DetectOptions())
    assert len(prepared.faces) == 1 and len(prepared.faces[0].augmented) == 3
    assert prepared.faces[0].crop.pixels.shape == (200, 224, 3)
    assert np.array_equal(prepared.faces[0].face.landmarks, found.faces[0].landmarks)


def test_small_faces_are_cropped_from_the_full_photo(detector):
    """A face that is small in a large JPEG is found in a reduced photo, but its crop is as sharp as the photo."""
    scene = np.full((3000, 4000, 3), 90, np.uint8)
    scene[1000:2024, 1500:2524] = cv2.resize(astronaut("as it is"), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    options = DetectOptions(min_face_px=24)
    crop = detector.prepare_faces(data, 224, 224, 0, options).faces[0].crop.pixels
    lossless = detector.prepare_faces(cv2.imencode(".png", scene)[1].tobytes(), 224, 224, 0, options)
    sharpness = [float(cv2.Laplacian(p, cv2.CV_32F).var()) for p in (crop, lossless.faces[0].crop.pixels)]
    assert sharpness[0] > 0.8 * sharpness[1]


def shown(detector: Detector, photo: np.ndarray, kind: str, face_px: int) -> list[bytes]:
    """The face of a photo in a view."""
    view = face_pb2.View(scale=2.7, side=80, face_px=face_px)
    data = cv2.imencode(kind, photo)[1].tobytes()
    request = detector_pb2.PrepareFacesRequest(image=data, width=224, height=224, views=[view])
    (face,) = DetectorServicer(detector, Workers(1)).PrepareFaces(request, None).faces
    return list(face.views)


def test_faces_are_shown_with_what_is_around_them(detector):
    """Cut out of a JPEG that is decoded at a quarter, and of a PNG that is halved twice, alike."""
    large = cv2.resize(astronaut("as it is"), None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    (jpeg,), (png,) = (shown(detector, large, kind, 100) for kind in (".jpg", ".png"))
    small = cv2.resize(large, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    box = detector.detect_faces(cv2.imencode(".png", large)[1].tobytes(), DetectOptions()).faces[0].box
    expected = show(small, box.scaled(0.25), View(2.7, 80, 100))
    for pixels in (jpeg, png):
        found = np.frombuffer(pixels, np.uint8).reshape(80, 80, 3)
        assert np.abs(found.astype(int) - expected).mean() < 8, "the photo looks the same, boxes differ a little"


def test_faces_that_cannot_be_shown_so_are_not(detector):
    large = cv2.resize(astronaut("as it is"), None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    assert not shown(detector, large, ".jpg", 200), "it was decoded smaller"
    assert not shown(detector, np.ascontiguousarray(np.rot90(astronaut("as it is"))), ".png", 20)
    assert shown(detector, astronaut("as it is"), ".png", 500), "as large as it is"


@pytest.mark.parametrize("view", [{"scale": 0.5}, {"side": 8}, {"side": 513}, {"face_px": 0}, {"scale": float("nan")}])
def test_views_out_of_range_are_refused(detector, view):
    views = [face_pb2.View(**({"scale": 2.7, "side": 80, "face_px": 120} | view))]
    with pytest.raises(InvalidRequest, match="views"):
        DetectorServicer(detector, Workers(1)).PrepareFaces(detector_pb2.PrepareFacesRequest(views=views), None)


def test_crops_are_the_same_in_any_format(detector):
    data = cv2.imencode(".jpg", astronaut("as it is"))[1].tobytes()
    request = detector_pb2.PrepareFacesRequest(image=data, width=224, height=224, augmentations=2)
    stored = DetectorServicer(detector, Workers(1)).PrepareFaces(request, None).faces[0]
    request.crop_format = detector_pb2.PrepareFacesRequest.CROP_FORMAT_BMP
    looked_at = DetectorServicer(detector, Workers(1)).PrepareFaces(request, None).faces[0]
    assert stored.crop.image.startswith(b"\x89PNG") and looked_at.crop.image.startswith(b"BM")
    for one, other in zip([stored.crop, *stored.augmented], [looked_at.crop, *looked_at.augmented], strict=True):
        assert (decode(one.image) == decode(other.image)).all() and one.landmarks == other.landmarks
    request.crop_format = 9
    with pytest.raises(InvalidRequest, match="crop_format 9 is not known"):
        DetectorServicer(detector, Workers(1)).PrepareFaces(request, None)


def test_a_crowd_cannot_ask_for_more_memory_than_there_is():
    class Crowd:
        """Finds 2,000 faces everywhere."""

        def detect(self, image, options):
            points = np.array([(30, 30), (60, 30), (45, 45), (33, 60), (57, 60)], np.float32)
            return [Face(Box(20, 10, 50, 60), points, 0.9)] * 2000

        def votes(self, image, boxes):
            return np.full((len(boxes), 4), 0.5)

    data = cv2.imencode(".jpg", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
    assert len(Detector(Crowd()).prepare_faces(data, 1024, 1024, 4, DetectOptions()).faces) == 3
    request = detector_pb2.PrepareFacesRequest(
        image=data, width=224, height=224, crop_format=detector_pb2.PrepareFacesRequest.CROP_FORMAT_BMP
    )
    answer = DetectorServicer(Detector(Crowd()), Workers(1)).PrepareFaces(request, None)
    assert answer.ByteSize() + 3 * MAX_SHOWN_PIXELS < MAX_MESSAGE_BYTES
    assert len(Detector(Crowd()).detect_faces(data, DetectOptions()).faces) == 2000


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (12, 12), (13, 40_000), (480, 640)])
def test_pictures_without_room_for_a_face(mtcnn, mode, shape):
    for picture in (np.zeros((*shape, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)):
        assert mtcnn.detect(picture, DetectOptions(mode)) == []


def test_sixty_megapixels_in_bounded_time(detector):
    data = cv2.imencode(".jpg", np.full((6000, 10_000, 3), 128, np.uint8))[1].tobytes()
    assert detector.detect_faces(data, DetectOptions()).faces == []
