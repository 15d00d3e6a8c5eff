"""The names of the recognisers that there are, as SELECTED_MODELS has them."""

from enum import StrEnum

from services.common.model_cards import cards


class RecogniserName(StrEnum):
    """A face recognition network; what is known of each is in services/embedder/recognition/catalogue.py."""

    VGG_FACE = "VGG-Face"
    FACENET = "Facenet"
    FACENET512 = "Facenet512"
    OPENFACE = "OpenFace"
    DEEPFACE = "DeepFace"
    DEEPID = "DeepID"
    ARCFACE = "ArcFace"
    DLIB = "Dlib"
    GHOSTFACENET = "GhostFaceNet"
    MOBILEFACENET = "MobileFaceNet"
    FACEPLUGIN = "FacePlugin"


def known_names() -> dict[str, str]:
    """All names by themselves in lower case; raises BadCard where a card cannot be read."""
    return {name.lower(): name.value for name in RecogniserName} | {
        lower: card.name for lower, card in cards().items() if lower not in {name.lower() for name in RecogniserName}
    }
