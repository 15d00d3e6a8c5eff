"""What a service costs on top of its work: throughput under load against the same calls in one process."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
from google.protobuf.message import Message
from reco.detector.v1 import detector_pb2
from reco.embedder.v1 import embedder_pb2
from reco.liveness.v1 import liveness_pb2

from services.common.convert import from_box
from services.common.workers import Workers, processors
from services.detector.model import MODEL, Detector, open_finder
from services.detector.mtcnn import DetectOptions
from services.detector.servicer import DetectorServicer, from_crop
from services.embedder.gallery.store import Gallery
from services.embedder.model import Embedder
from services.embedder.recognition import catalogue, recogniser
from services.embedder.recognition.registry import Recognisers
from services.embedder.search.index import Indexes
from services.embedder.servicer import EmbedderServicer
from services.liveness.fusion import FacePluginLiveness, FusedModels
from services.liveness.minifasnet import MiniFasNet
from services.liveness.model import FACEPLUGIN, MINIFASNET, LivenessModels
from services.liveness.servicer import LivenessServicer
from tests.e2e.system import System
from tests.load.bench_stages import CACHE, CLIENTS, Stages
from tests.load.figures import Figure, at_least, interleaved
from tests.models import finished

#: Seconds that CLIENTS threads call a service at once: fewer would not fill the batches of the embedder's workers.
SECONDS = 2.5


def throughput(system: System, stages: Stages, mirror: Path) -> Iterator[Figure]:
    """Each service's main call.

    The client stands for other machines': it sends what was serialised beforehand, and does not parse the answer.
    """
    requests = make_requests(stages)
    for name, (servicer, method) in {
        "detector": (local_detector(), "PrepareFaces"),
        "liveness": (local_liveness(mirror), "CheckLiveness"),
        "embedder": (local_embedder(), "EmbedFaces"),
    }.items():
        with grpc.insecure_channel(system.address(name)) as channel:
            remote: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                f"/reco.{name}.v1.{name.title()}Service/{method}"
            )
            local, request = getattr(servicer, method), requests[name]
            contenders = {
                "service": partial(rate, partial(remote, request.SerializeToString())),
                "process": partial(rate, partial(local, request, None)),
            }
            measured = interleaved(contenders, 5)
        note = f" ({measured['service']:.1f} and {measured['process']:.1f} calls/s)"
        what = f"{name}'s throughput under load, of the same calls in one process"
        yield at_least(what, 85, 100 * measured["service"] / measured["process"], " %", note)


def make_requests(stages: Stages) -> dict[str, Message]:
    """A photo to prepare, to judge, and its face to embed."""
    photo = stages.small.read_bytes()
    prepare = detector_pb2.PrepareFacesRequest(image=photo, width=224, height=224)
    found = stages.detector.prepare_faces(photo, 224, 224, 0, DetectOptions()).faces[0]
    return {
        "detector": prepare,
        "liveness": liveness_pb2.CheckLivenessRequest(image=photo, boxes=[from_box(found.face.box)]),
        "embedder": embedder_pb2.EmbedFacesRequest(models=["Dlib"], faces=[from_crop(stages.crop)]),
    }


def local_detector() -> DetectorServicer:
    return DetectorServicer(Detector(open_finder(finished(MODEL))), Workers(processors()))


def local_liveness(mirror: Path) -> LivenessServicer:
    model = FusedModels(
        [MiniFasNet.load(finished(MINIFASNET, mirror)), FacePluginLiveness.load(finished(FACEPLUGIN, mirror))]
    )
    models = cast(LivenessModels, SimpleNamespace(current=lambda: model))  # all that is asked of them
    return LivenessServicer(models, Workers(processors()))


def local_embedder() -> EmbedderServicer:
    """One that can embed only: it has no gallery."""
    recognisers = Recognisers(catalogue.find, lambda name: recogniser.load(catalogue.find(name), finished(name), CACHE))
    return EmbedderServicer(Embedder(recognisers, cast(Gallery, None), cast(Indexes, None)))


def rate(call: Callable[[], object]) -> float:
    """Calls a second."""
    end = time.perf_counter() + SECONDS

    def caller(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            call()
            done += 1
        return done

    with ThreadPoolExecutor(CLIENTS) as pool:
        started = time.perf_counter()
        done = sum(pool.map(caller, range(CLIENTS)))
        return done / (time.perf_counter() - started)
