"""The face recognition networks we know, as data: what they want to see, and how to judge distances.

Names and thresholds are those of deepface 0.0.103 (MIT); what the networks are made of is in deploy/models/sources.py.
Channel order, normalisation and crop are those the networks' own authors trained with, which deepface's
defaults (BGR / 255, box resized) often are not; so its thresholds are starting points, to be fitted with
`python -m tests.quality.evaluate` before they decide anything. Dlib's, MobileFaceNet's and FacePlugin's are fitted.
"""

from dataclasses import dataclass, replace
from functools import cache

from services.common.errors import UnknownModel
from services.common.geometry import CHIP_LANDMARKS
from services.common.model_cards import Card, cards
from services.common.recognisers import RecogniserName, known_names
from services.embedder.recognition.alignment import Alignment, View
from services.embedder.recognition.thresholds import Curve, Fixed, Thresholds


@dataclass(frozen=True)
class Normalisation:
    """Pixels 0 to 255 to what a network wants: (pixel - mean) * scale.

    Attributes:
        order: "rgb" or "bgr", of the network's input and of `mean`.
        per_image: mean and standard deviation of each picture itself come first (Facenet's "prewhitening":
            (x - mean) / max(std, 1 / sqrt(number of values)), davidsandberg/facenet, src/facenet.py).
    """

    order: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    per_image: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """A face recognition network.

    Attributes:
        name: as in SELECTED_MODELS.
        alignment: where it wants the face; its width and height are the network's input.
        normalisation: of the pixels. For Dlib it is part of the graph.
        dimension: of its templates.
        thresholds: see thresholds.py.
        unit_length: its templates are brought to unit length (its thresholds were fitted so).
        views: a template is the mean over these; each costs a run.
    """

    name: str
    alignment: Alignment
    normalisation: Normalisation
    dimension: int
    thresholds: Thresholds
    unit_length: bool = False
    views: tuple[View, ...] = (View(),)

    def one_view(self) -> "ModelSpec":
        """The same, looking at a face once: quicker, less accurate (docs/accuracy.md)."""
        return replace(self, views=(View(),))


def find(name: str) -> ModelSpec:
    """The model of that name; upper and lower case do not matter.

    Raises:
        UnknownModel: there is none.
    """
    lower = name.strip().lower()
    spec = _registry().get(lower)
    if spec is None and (card := cards().get(lower)):
        spec = _of_card(card)
    if spec is None:
        raise UnknownModel(f"model {name!r} is unknown; there are {', '.join(names())}")
    return spec


def names() -> tuple[str, ...]:
    """All canonical names."""
    return tuple(known_names().values())


@cache
def _registry() -> dict[str, ModelSpec]:
    specs = (*_insightface_like(), *_mobile(), *_facenets(), *_older(), _dlib())
    return {spec.name.lower(): spec for spec in specs}


#: deepface's thresholds belong to its own preprocessing; see the module's docstring.
_DEEPFACE = "deepface 0.0.103, config/threshold.py; for its own preprocessing, not fitted to ours"
_FITTED = (
    "all pairs (983 genuine, 1,197,943 impostor) of the 1,549 photos of LFW View 1, whole chain: docs/thresholds.md"
)

#: ArcFace's 112 x 112 template (insightface, src/common/face_preprocess.py, plus 8 pixels).
_ARCFACE_POINTS = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041),
)  # fmt: skip
#: dlib's face chip a little narrower about its middle, and mouths counted half: of 15 such variants, in the middle of those
#: with the lowest FNMR over all 1.2 million pairs of LFW's View 1 photos (at FMR 0.1 %: 0.058; as measured 0.068;
#: dlib's own chip and predictor 0.064). Neighbours differ by less than the measurement's noise.
_DLIB_ZOOM = 1.07
_DLIB_WEIGHTS = (1.0, 1.0, 1.0, 0.5, 0.5)
#: The mirror image, and larger than the face itself: same measurement, FNMR at FMR 1 % and 0.1 % 0.0142 and 0.0631
#: with one view, 0.0102 and 0.0509 with the mirror image at the same size, 0.0061 and 0.0468 with these two.
_DLIB_VIEWS = (View(1 / 1.065), View(1.065, mirrored=True))
#: Mean eye centres, nose tip and mouth corners of OpenFace's own 68-point template in its 96 x 96 input
#: (cmusatyalab/openface, openface/align_dlib.py).
_OPENFACE_POINTS = ((26.64, 16.87), (67.73, 15.46), (47.24, 40.52), (29.48, 61.62), (66.76, 60.88))
#: Mean MTCNN landmarks relative to MTCNN's box (0 to 1), and that box's mean width by its height: measured on the
#: 1,425 photos of lfw_dev with upright faces, left and right averaged.
_BOX_POINTS = ((0.2725, 0.3825), (0.7275, 0.3825), (0.5, 0.582), (0.298, 0.751), (0.702, 0.751))
_BOX_ASPECT = 0.744


def _box_alignment(name: str, size: tuple[int, int], grow: tuple[float, float], squeeze: bool = False) -> Alignment:
    """MTCNN's box grown about its centre by (x, y) factors and resized to `size`.

    Args:
        squeeze: resize width and height each by its own factor, rather than by the height's.
    """
    width, height = size
    tall = grow[1]  # in box heights
    wide = grow[0] * _BOX_ASPECT if squeeze else tall * width / height
    points = tuple(
        (((x - 0.5) * _BOX_ASPECT / wide + 0.5) * width, ((y - 0.5) / tall + 0.5) * height) for x, y in _BOX_POINTS
    )
    return Alignment(name, width, height, points, stretch=(width / wide) / (height / tall))


#: What networks of insightface's kind want.
_ARCFACE = Alignment("arcface", 112, 112, _ARCFACE_POINTS)
_MINUS_ONE_TO_ONE = Normalisation("rgb", (127.5, 127.5, 127.5), 1 / 128)


def _mobile() -> tuple[ModelSpec, ...]:
    """Small networks that npm packages carry.

    Face and mirror image, at no other size: on LFW's View 1 photos other sizes differ by less than the measurement's noise
    (FNMR at FMR 0.01 %: MobileFaceNet 4.7 % with one view, 4.2 % so, 4.2 and 4.3 % with sizes 5 % apart, 3.8 % with six
    views; FacePlugin 6.0, 5.6, 5.2, 5.3 and 4.9 %). How long their templates are says little of who it is: compared as they
    are, by `euclidean`, genuine pairs are refused twice to four times as often; hence unit length.
    """
    views = (View(), View(mirrored=True))
    return (
        ModelSpec(
            RecogniserName.MOBILEFACENET,
            _ARCFACE,
            _MINUS_ONE_TO_ONE,
            192,
            Curve(
                cosine=(0.8016, 0.6495, 0.5427, 0.4576, 0.3976),
                euclidean=(1.2662, 1.1398, 1.0418, 0.9566, 0.8918),
                fnmr=(0.0041, 0.0102, 0.0203, 0.0427, 0.0966),
                source=_FITTED,
            ),
            unit_length=True,
            views=views,
        ),
        ModelSpec(
            RecogniserName.FACEPLUGIN,
            _ARCFACE,
            _MINUS_ONE_TO_ONE,
            512,
            Curve(
                cosine=(0.8660, 0.7502, 0.6564, 0.5752, 0.5082),
                euclidean=(1.3161, 1.2249, 1.1458, 1.0726, 1.0082),
                fnmr=(0.0112, 0.0142, 0.0295, 0.0580, 0.1109),
                source=_FITTED,
            ),
            unit_length=True,
            views=views,
        ),
    )


def _insightface_like() -> tuple[ModelSpec, ...]:
    template, minus_one_to_one = _ARCFACE, _MINUS_ONE_TO_ONE
    return (
        ModelSpec(RecogniserName.ARCFACE, template, minus_one_to_one, 512, Fixed(0.68, 4.15, 1.13, _DEEPFACE)),
        ModelSpec(RecogniserName.GHOSTFACENET, template, minus_one_to_one, 512, Fixed(0.65, 35.71, 1.10, _DEEPFACE)),
    )


def _facenets() -> tuple[ModelSpec, ...]:
    # Their authors grow MTCNN's box by 32 pixels of the photo, on LFW these shares, and squeeze it into a square.
    box = _box_alignment("mtcnn-box-margin", (160, 160), (1.35, 1.26), squeeze=True)
    fixed = Normalisation("rgb", (127.5, 127.5, 127.5), 1 / 128)
    return (
        ModelSpec(
            RecogniserName.FACENET,
            box,
            Normalisation("rgb", per_image=True),
            128,
            Fixed(0.40, 10.0, 0.80, _DEEPFACE),
        ),
        ModelSpec(RecogniserName.FACENET512, box, fixed, 512, Fixed(0.30, 23.56, 1.04, _DEEPFACE)),
    )


def _older() -> tuple[ModelSpec, ...]:
    return (
        ModelSpec(
            RecogniserName.VGG_FACE,
            _box_alignment("mtcnn-box-1.2", (224, 224), (1.2, 1.2)),
            Normalisation("bgr", (93.594, 104.7624, 129.1863)),
            4096,
            Fixed(0.68, 1.17, 1.17, _DEEPFACE),
            unit_length=True,
        ),
        ModelSpec(
            RecogniserName.OPENFACE,
            Alignment("openface", 96, 96, _OPENFACE_POINTS),
            Normalisation("rgb", scale=1 / 255),
            128,
            Fixed(0.10, 0.55, 0.55, _DEEPFACE),
        ),
        ModelSpec(
            RecogniserName.DEEPFACE,
            _box_alignment("mtcnn-box-1.2", (152, 152), (1.2, 1.2)),
            Normalisation("rgb", scale=1 / 255),
            4096,
            Fixed(0.23, 64.0, 0.64, _DEEPFACE),
        ),
        ModelSpec(
            RecogniserName.DEEPID,
            _box_alignment("mtcnn-box", (47, 55), (1.0, 1.0)),
            Normalisation("bgr", scale=1 / 255),  # its author says nothing; as deepface feeds it
            160,
            Fixed(0.015, 45.0, 0.17, _DEEPFACE),
        ),
    )


def _dlib() -> ModelSpec:
    chip = Alignment("dlib-chip", 150, 150, CHIP_LANDMARKS, weights=_DLIB_WEIGHTS)
    return ModelSpec(
        RecogniserName.DLIB,
        chip.zoomed(_DLIB_ZOOM),
        Normalisation("bgr"),
        128,
        Curve(
            cosine=(0.1162, 0.0881, 0.0706, 0.0570, 0.0474),
            euclidean=(0.6896, 0.6000, 0.5314, 0.4671, 0.4224),
            fnmr=(0.0031, 0.0071, 0.0478, 0.1465, 0.2869),
            source=_FITTED,
        ),
        views=_DLIB_VIEWS,
    )


def _of_card(card: Card) -> ModelSpec:
    """A model of somebody's own."""
    alignment = Alignment(f"card {card.name}", card.width, card.height, card.points) if card.points else _ARCFACE
    return ModelSpec(
        card.name,
        alignment,
        Normalisation(card.order, card.mean, card.scale, card.per_image),
        card.dimension,
        Fixed(**card.thresholds, source=card.source),
        unit_length=card.unit_length,
        views=(View(), View(mirrored=True)) if card.mirror else (View(),),
    )
