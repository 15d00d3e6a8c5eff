"""The names of the recognisers that there are, as SELECTED_MODELS has them."""

from enum import StrEnum


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
    SFACE = "SFace"
    GHOSTFACENET = "GhostFaceNet"
    MOBILEFACENET = "MobileFaceNet"
    FACEPLUGIN = "FacePlugin"
