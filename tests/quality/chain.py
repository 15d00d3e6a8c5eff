"""The whole chain from a photo's file to templates, over many photos and on all cores: detector, crop, recognisers."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from services.common.faces import Face, FaceCrop
from services.detector.model import MODEL, YUNET, Detector, PreparedFace, open_finder, open_yunet
from services.detector.mtcnn import DetectOptions
from services.embedder.recognition import catalogue, recogniser
from services.images.decode import decode
from tests.models import finished
from tests.quality.disguise import paint

CROP = 224  # pixels, both sides: the detector's default


@dataclass(frozen=True)
class Chain:
    """What to run.

    Attributes:
        models: names.
        mirror: whether a template is the mean over a model's views.
        folder: of weights (models/) and networks made here (cache/).
        weights_mirror: see deploy.models.weights.WeightStore.
        options: of the search for faces.
        finder: MTCNN or YuNet.
        disguise: what is painted onto the faces first (disguise.py); None: nothing.
    """

    models: tuple[str, ...]
    mirror: bool
    folder: Path
    weights_mirror: str | None = None
    options: DetectOptions = field(default_factory=DetectOptions)
    finder: str = MODEL
    disguise: str | None = None


def embed_photos(chain: Chain, photos: Sequence[Path], workers: int | None = None) -> dict[str, np.ndarray]:
    """Templates of the face nearest to the middle of each photo.

    Returns:
        By model name, float32 (photos, dimension); a row of NaN where no face was found.
    """
    for name in chain.models:  # fetched and converted once, not by every worker
        _load(chain, name)
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of ONNX Runtime's threads
    tasks = [(chain, path) for path in photos]
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
        rows = list(pool.map(_embed_photo, tasks, chunksize=16))
    return {name: np.stack([row[number] for row in rows]) for number, name in enumerate(chain.models)}


def versions(chain: Chain) -> dict[str, str]:
    """By model name, its version."""
    return {name: _load(chain, name).version for name in chain.models}


def central_crop(chain: Chain, path: Path) -> FaceCrop | None:
    """The crop of the face nearest to the photo's middle; None where no face was found."""
    photo = path.read_bytes()
    nearest = _nearest(chain, photo)
    if nearest and chain.disguise:
        painted = paint(decode(photo), nearest.face.landmarks, chain.disguise)
        nearest = _nearest(chain, cv2.imencode(".png", painted)[1].tobytes())
    return nearest.crop if nearest else None


def _nearest(chain: Chain, photo: bytes) -> PreparedFace | None:
    prepared = _detector(chain).prepare_faces(photo, CROP, CROP, 0, chain.options)
    middle = np.array([prepared.photo.full_width, prepared.photo.full_height]) / 2
    return min(prepared.faces, key=lambda found: _distance(found.face, middle), default=None)


def _distance(face: Face, point: np.ndarray) -> float:
    box = face.box
    return float(np.hypot(box.x + box.width / 2 - point[0], box.y + box.height / 2 - point[1]))


def _embed_photo(task: tuple[Chain, Path]) -> list[np.ndarray]:
    chain, path = task
    crop = central_crop(chain, path)
    loaded = [_load(chain, name) for name in chain.models]
    if crop is None:
        return [np.full(one.dimension, np.nan, np.float32) for one in loaded]
    return [one.embed([crop])[0] for one in loaded]


@cache
def _detector(chain: Chain) -> Detector:
    cv2.setNumThreads(1)
    mtcnn = open_finder(finished(MODEL, folder=chain.folder))
    if chain.finder == YUNET:
        return Detector(open_yunet(finished(YUNET, chain.weights_mirror or "", chain.folder), mtcnn))
    return Detector(mtcnn)


@cache
def _load(chain: Chain, name: str) -> recogniser.OnnxRecogniser:
    model = finished(name, chain.weights_mirror or "", chain.folder)
    spec = catalogue.find(name)
    return recogniser.load(spec if chain.mirror else spec.one_view(), model, chain.folder / "cache")
