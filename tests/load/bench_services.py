"""What a service costs on top of its work: throughput under load against the same calls in one process."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from reco.detector.v1 import detector_pb2, detector_pb2_grpc
from reco.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from reco.liveness.v1 import liveness_pb2, liveness_pb2_grpc

from services.common.batcher import Limits, Workers, processors
from services.common.convert import from_crop
from services.detector.model import open_detector
from services.detector.servicer import DetectorServicer
from services.embedder import models, recognizer
from services.embedder.model import Embedder
from services.embedder.recognizers import Recognizers
from services.embedder.servicer import EmbedderServicer
from services.liveness.model import LivenessModels, ModelSettings
from services.liveness.servicer import LivenessServicer
from services.liveness.weights import MINIFASNET_URL
from tests.e2e.system import ROOT, System
from tests.load.bench_stages import CACHE, Stages, store
from tests.load.figures import Figure, at_least, interleaved

#: Threads that call a service at once, and seconds that they do.
CALLERS, SECONDS = 8, 2.5


def throughput(system: System, stages: Stages, mirror: Path) -> Iterator[Figure]:
    """Each service's main call."""
    requests = make_requests(stages)
    for name, (stub, servicer, method) in {
        "detector": (detector_pb2_grpc.DetectorServiceStub, local_detector(), "PrepareFaces"),
        "liveness": (liveness_pb2_grpc.LivenessServiceStub, local_liveness(mirror), "CheckLiveness"),
        "embedder": (embedder_pb2_grpc.EmbedderServiceStub, local_embedder(), "EmbedFaces"),
    }.items():
        with grpc.insecure_channel(system.address(name)) as channel:
            remote, local = getattr(stub(channel), method), getattr(servicer, method)
            contenders = {
                "service": lambda call=remote, request=requests[name]: rate(lambda: call(request)),
                "process": lambda call=local, request=requests[name]: rate(lambda: call(request, None)),
            }
            measured = interleaved(contenders, 3)
        note = f" ({measured['service']:.1f} and {measured['process']:.1f} calls/s)"
        what = f"{name}'s throughput under load, of the same calls in one process"
        yield at_least(what, 85, 100 * measured["service"] / measured["process"], " %", note)


def make_requests(stages: Stages) -> dict[str, object]:
    """A photo to prepare, to judge, and its face to embed."""
    photo = stages.small.read_bytes()
    prepare = detector_pb2.PrepareFacesRequest(image=photo, width=224, height=224)
    found = local_detector().PrepareFaces(prepare, None).faces[0]
    return {
        "detector": prepare,
        "liveness": liveness_pb2.CheckLivenessRequest(image=photo, boxes=[found.face.box]),
        "embedder": embedder_pb2.EmbedFacesRequest(models=["Dlib"], faces=[from_crop(stages.crop)]),
    }


def local_detector() -> DetectorServicer:
    return DetectorServicer(open_detector(CACHE), Workers(Limits(processors())))


def local_liveness(mirror: Path) -> LivenessServicer:
    settings = ModelSettings(ROOT / "var" / "models", MINIFASNET_URL, "MiniFASNet")
    return LivenessServicer(LivenessModels(lambda: settings, str(mirror), cache=CACHE), Workers(Limits(processors())))


def local_embedder() -> EmbedderServicer:
    """One that can embed only: it has no gallery."""
    recognizers = Recognizers(models.find, lambda spec: recognizer.load(spec, store(), CACHE))
    return EmbedderServicer(Embedder(recognizers, None, None))


def rate(call: Callable[[], object]) -> float:
    """Calls a second."""
    end = time.perf_counter() + SECONDS

    def caller(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            call()
            done += 1
        return done

    with ThreadPoolExecutor(CALLERS) as pool:
        started = time.perf_counter()
        done = sum(pool.map(caller, range(CALLERS)))
        return done / (time.perf_counter() - started)
