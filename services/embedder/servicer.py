"""reco.embedder.v1.EmbedderService: proto to domain and back, nothing else."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import grpc
import numpy as np
from reco.embedder.v1 import embedder_pb2 as pb
from reco.embedder.v1 import embedder_pb2_grpc
from reco.types.v1 import face_pb2, results_pb2

from services.common.errors import ImageTooLarge, InvalidRequest
from services.common.faces import LANDMARK_NAMES, FaceCrop
from services.embedder.gallery.templates import Template
from services.embedder.matching import Match, Metric
from services.embedder.metrics import EmbedderMetrics
from services.embedder.model import Embedder
from services.embedder.recognition.registry import Strictness
from services.embedder.recognition.thresholds import HIGHEST_FMR, LOWEST_FMR
from services.embedder.types import (
    Claim,
    Comparison,
    Enrollment,
    GalleryPhoto,
    ModelFacts,
    Sample,
    Search,
    SimilarSearch,
)
from services.images.decode import decode

Item = TypeVar("Item")

#: Limits of a request.
MAX_CROP_SIDE = 1024
MAX_FACES = 256
MAX_PHOTOS = 32_768
MAX_PEOPLE = 10_000
MAX_ENROLLED = 1000
MAX_COMPARED = 64
MAX_TOP = 100
MAX_SIMILAR = 100
MAX_LISTED = 1000
#: What a rate may lose as a float32.
FLOAT_ROUNDING = 1e-6

METRICS = {
    pb.DISTANCE_COSINE: Metric.COSINE,
    pb.DISTANCE_EUCLIDEAN: Metric.EUCLIDEAN,
    pb.DISTANCE_EUCLIDEAN_L2: Metric.EUCLIDEAN_L2,
}


class EmbedderServicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """Serves an Embedder."""

    def __init__(self, embedder: Embedder, metrics: EmbedderMetrics | None = None):
        self._embedder = embedder
        self._metrics = metrics or EmbedderMetrics()

    def EmbedFaces(self, request: pb.EmbedFacesRequest, context: grpc.ServicerContext) -> pb.EmbedFacesResponse:
        faces = [Sample(_crop(face)) for face in _limited("faces", request.faces, MAX_FACES)]
        rows = self._embedder.embed(request.models, faces)
        return pb.EmbedFacesResponse(faces=[_from_templates(row) for row in rows])

    def EnrollFaces(self, request: pb.EnrollFacesRequest, context: grpc.ServicerContext) -> pb.EnrollFacesResponse:
        return pb.EnrollFacesResponse(stored_photos=self._embedder.enroll(_to_enrollment(request)))

    def EnrollPeople(self, request: pb.EnrollPeopleRequest, context: grpc.ServicerContext) -> pb.EnrollPeopleResponse:
        people = _limited("people", request.people, MAX_ENROLLED)
        stored = self._embedder.enroll_all([_to_enrollment(one) for one in people])
        return pb.EnrollPeopleResponse(people=[pb.EnrollFacesResponse(stored_photos=count) for count in stored])

    def RemovePerson(self, request: pb.RemovePersonRequest, context: grpc.ServicerContext) -> pb.RemovePersonResponse:
        return pb.RemovePersonResponse(removed_photos=self._embedder.remove(request.person_id))

    def FindUnenrolled(
        self, request: pb.FindUnenrolledRequest, context: grpc.ServicerContext
    ) -> pb.FindUnenrolledResponse:
        people = _limited("person_ids", request.person_ids, MAX_PEOPLE)
        found = self._embedder.find_unenrolled(people, request.models)
        return pb.FindUnenrolledResponse(person_ids=found, generation=self._embedder.generation(request.models))

    def VerifyFaces(self, request: pb.VerifyFacesRequest, context: grpc.ServicerContext) -> pb.VerifyFacesResponse:
        claim = _to_claim(request)
        verification = self._embedder.verify(claim)
        self._metrics.compared(verification.best, claim.metric)
        return pb.VerifyFacesResponse(
            verified=verification.verified,
            matching_pairs=verification.matching_pairs,
            matching_augmented_pairs=verification.matching_augmented_pairs,
            best=_from_match(verification.best) if verification.best else None,
            fusion=results_pb2.Fusion(**asdict(verification.fusion)) if verification.fusion else None,
            probes=map(_from_templates, verification.templates) if any(probe.crop for probe in claim.probes) else (),
            unenrolled=verification.unenrolled,
        )

    def IdentifyFaces(
        self, request: pb.IdentifyFacesRequest, context: grpc.ServicerContext
    ) -> pb.IdentifyFacesResponse:
        if not 0 <= request.top_k <= MAX_TOP:
            raise InvalidRequest(f"top_k: 1 to {MAX_TOP} is taken")
        probes = tuple(_to_sample(probe) for probe in _limited("probes", request.probes, MAX_FACES))
        metric = _to_metric(request.distance)
        search = Search(tuple(request.models), metric, probes, request.top_k, _to_strictness(request.strictness))
        found = self._embedder.identify(search)
        self._metrics.searched(found.matches, metric)
        return pb.IdentifyFacesResponse(
            matches=map(_from_match, found.matches),
            generation=self._embedder.generation(request.models),
            thresholds=[
                pb.IdentifyFacesResponse.Threshold(model=one.model, threshold=one.threshold, fmr=one.fmr or 0.0)
                for one in found.criteria
            ],
        )

    def CompareFaces(self, request: pb.CompareFacesRequest, context: grpc.ServicerContext) -> pb.CompareFacesResponse:
        probes = tuple(_to_sample(probe) for probe in _limited("probes", request.probes, MAX_COMPARED))
        others = [_to_sample(probe) for probe in _limited("others", request.others, MAX_COMPARED)]
        metric, strictness = _to_metric(request.distance), _to_strictness(request.strictness)
        pairs = self._embedder.compare(Search(tuple(request.models), metric, probes, 0, strictness), others)
        return pb.CompareFacesResponse(pairs=map(_from_comparison, pairs))

    def FindSimilarPeople(
        self, request: pb.FindSimilarPeopleRequest, context: grpc.ServicerContext
    ) -> pb.FindSimilarPeopleResponse:
        people = tuple(_limited("person_ids", request.person_ids, MAX_SIMILAR))
        metric, strictness = _to_metric(request.distance), _to_strictness(request.strictness)
        found = self._embedder.similar(SimilarSearch(people, tuple(request.models), metric, strictness))
        pairs = [
            pb.FindSimilarPeopleResponse.Pair(person_id=person_id, match=_from_match(match))
            for person_id, matches in found.items()
            for match in matches
        ]
        return pb.FindSimilarPeopleResponse(pairs=pairs)

    def ListTemplates(
        self, request: pb.ListTemplatesRequest, context: grpc.ServicerContext
    ) -> pb.ListTemplatesResponse:
        people = _limited("person_ids", request.person_ids, MAX_LISTED)
        photos = [
            pb.ListTemplatesResponse.PhotoTemplates(
                person_id=person_id, photo_id=photo_id, templates=map(_from_template, templates)
            )
            for (person_id, photo_id), templates in self._embedder.stored(people, request.models).items()
        ]
        return pb.ListTemplatesResponse(photos=photos)

    def DropTemplates(
        self, request: pb.DropTemplatesRequest, context: grpc.ServicerContext
    ) -> pb.DropTemplatesResponse:
        return pb.DropTemplatesResponse(dropped_templates=self._embedder.drop_templates(request.keep_models))

    def RebuildIndex(self, request: pb.RebuildIndexRequest, context: grpc.ServicerContext) -> pb.RebuildIndexResponse:
        sizes = self._embedder.rebuild_index(request.models)
        indexes = [pb.RebuildIndexResponse.ModelIndex(model=size.model, templates=size.templates) for size in sizes]
        return pb.RebuildIndexResponse(indexes=indexes)

    def DescribeModels(
        self, request: pb.DescribeModelsRequest, context: grpc.ServicerContext
    ) -> pb.DescribeModelsResponse:
        facts = self._embedder.describe(request.models, _to_metric(request.distance))
        return pb.DescribeModelsResponse(models=map(_from_facts, facts))


def _to_enrollment(request: pb.EnrollFacesRequest) -> Enrollment:
    photos = tuple(_to_photo(photo) for photo in _limited("photos", request.photos, MAX_PHOTOS))
    keep = frozenset(request.keep_photo_ids)
    return Enrollment(request.person_id, tuple(request.models), photos, keep, request.keep_other_models)


def _to_claim(request: pb.VerifyFacesRequest) -> Claim:
    augmented = _limited("augmented_probes", request.augmented_probes, MAX_PHOTOS)
    return Claim(
        person_id=request.person_id,
        models=tuple(request.models),
        metric=_to_metric(request.distance),
        probes=tuple(map(_to_sample, _limited("probes", request.probes, MAX_FACES))),
        augmented_probes=tuple(map(_to_sample, augmented)),
        min_pairs=request.min_pairs,
        min_augmented_pairs=request.min_augmented_pairs,
        strictness=_to_strictness(request.strictness),
    )


def _to_photo(proto: pb.GalleryPhoto) -> GalleryPhoto:
    return GalleryPhoto(proto.photo_id, proto.augmented, _to_sample(proto))


def _to_sample(proto: pb.Probe | pb.GalleryPhoto) -> Sample:
    crop = _crop(proto.crop) if proto.HasField("crop") else None
    return Sample(crop, tuple(map(_to_template, proto.templates)))


def _to_template(proto: pb.Template) -> Template:
    return Template(proto.model, proto.model_version, np.array(proto.vector, dtype=np.float32))


def _to_metric(proto: pb.Distance) -> Metric:
    if proto not in METRICS:
        raise InvalidRequest("distance: one of DISTANCE_COSINE, DISTANCE_EUCLIDEAN, DISTANCE_EUCLIDEAN_L2 is needed")
    return METRICS[proto]


def _crop(proto: face_pb2.FaceCrop) -> partial[FaceCrop]:
    """Decodes the crop when called: a face whose template is known never is."""
    if not proto.HasField("landmarks"):
        raise InvalidRequest("a face crop needs landmarks")
    return partial(_decode_crop, proto)


def _decode_crop(proto: face_pb2.FaceCrop) -> FaceCrop:
    pixels = decode(proto.image)
    if max(pixels.shape) > MAX_CROP_SIDE:
        raise ImageTooLarge(f"a face crop may have at most {MAX_CROP_SIDE} x {MAX_CROP_SIDE} pixels")
    return FaceCrop(pixels, _to_landmarks(proto.landmarks))


def _to_landmarks(proto: face_pb2.Landmarks) -> np.ndarray:
    """float32 (5, 2)."""
    points = [getattr(proto, name) for name in LANDMARK_NAMES]
    landmarks = np.array([(point.x, point.y) for point in points], dtype=np.float32)
    if not np.isfinite(landmarks).all():
        raise InvalidRequest("landmarks must be finite numbers")
    return landmarks


def _limited(field: str, values: Sequence[Item], most: int) -> Sequence[Item]:
    if len(values) > most:
        raise InvalidRequest(f"{field}: {len(values)} of them, at most {most} are taken")
    return values


def _from_templates(templates: Sequence[Template]) -> pb.EmbedFacesResponse.FaceTemplates:
    return pb.EmbedFacesResponse.FaceTemplates(templates=map(_from_template, templates))


def _from_template(template: Template) -> pb.Template:
    return pb.Template(model=template.model, model_version=template.version, vector=template.vector)


def _from_facts(facts: ModelFacts) -> pb.DescribeModelsResponse.Model:
    return pb.DescribeModelsResponse.Model(
        name=facts.name,
        version=facts.version,
        dimension=facts.dimension,
        threshold=facts.threshold,
        threshold_source=facts.source,
        fmr=facts.fmr or 0.0,
    )


def _from_match(match: Match) -> pb.Match:
    return pb.Match(
        person_id=match.person_id,
        photo_id=match.photo_id,
        model=match.model,
        distance=match.distance,
        threshold=match.threshold,
        fmr=match.fmr or 0.0,
        similarity=match.similarity,
        probe=match.probe,
    )


def _from_comparison(pair: Comparison) -> pb.CompareFacesResponse.Pair:
    match = pair.match
    return pb.CompareFacesResponse.Pair(
        probe=pair.probe,
        other=pair.other,
        matches=match.distance <= match.threshold,
        model=match.model,
        distance=match.distance,
        threshold=match.threshold,
        similarity=match.similarity,
        fmr=pair.fmr or 0.0,
    )


def _to_strictness(proto: pb.Strictness) -> Strictness:
    """Raises InvalidRequest where it is none."""
    if proto.threshold and proto.max_fmr:
        raise InvalidRequest("threshold, max_fmr: one of them is taken")
    if not 0 <= proto.threshold < math.inf:
        raise InvalidRequest("threshold: a distance above 0 is taken")
    if proto.max_fmr and not LOWEST_FMR <= proto.max_fmr <= HIGHEST_FMR * (1 + FLOAT_ROUNDING):
        raise InvalidRequest(f"max_fmr: a rate from {LOWEST_FMR:g} to {HIGHEST_FMR:g} is taken")
    return Strictness(proto.threshold or None, min(proto.max_fmr, HIGHEST_FMR) or None)
