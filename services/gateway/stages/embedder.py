"""Calls the embedder by gRPC; channels.py says how it is reached."""

from collections.abc import Iterator, Sequence

import grpc
from reco.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from reco.types.v1 import results_pb2

from services.common.limits import MAX_BODY_BYTES
from services.gateway.stages.channels import StageLacks, ask
from services.gateway.stages.crops import from_crop
from services.gateway.stages.types import (
    USUAL,
    AppliedThreshold,
    ClaimDecision,
    CropFile,
    EnrolledPerson,
    EnrollmentPhoto,
    FacePair,
    FaceTemplate,
    FusedDecision,
    IdentifiedPeople,
    Limit,
    Measure,
    PersonMatch,
    PhotoTemplates,
    Probe,
    RecogniserFacts,
)

#: Faces in one call, and bytes of their crops: of any number of faces of any size, each call fits a message.
EMBED_BATCH, EMBED_BYTES = 64, MAX_BODY_BYTES // 2

DISTANCES = {
    "cosine": embedder_pb2.DISTANCE_COSINE,
    "euclidean": embedder_pb2.DISTANCE_EUCLIDEAN,
    "euclidean_l2": embedder_pb2.DISTANCE_EUCLIDEAN_L2,
}


class EmbedderClient:
    """The embedder; see EmbedderStage."""

    def __init__(self, channel: grpc.Channel):
        self._stub = embedder_pb2_grpc.EmbedderServiceStub(channel)

    def embed(self, models: Sequence[str], crops: Sequence[CropFile]) -> list[tuple[FaceTemplate, ...]]:
        templates: list[tuple[FaceTemplate, ...]] = []
        for piece in _pieces(crops):
            faces = [from_crop(crop) for crop in piece]
            answer = ask(self._stub.EmbedFaces, embedder_pb2.EmbedFacesRequest(models=models, faces=faces))
            templates += map(_to_templates, answer.faces)
        return templates

    def enroll(
        self,
        person_id: str,
        models: Sequence[str],
        photos: Sequence[EnrollmentPhoto],
        keep: Sequence[str],
        keep_other_models: bool = False,
    ) -> None:
        request = self._enrollment(models, EnrolledPerson(person_id, tuple(photos), tuple(keep)))
        request.keep_other_models = keep_other_models
        ask(self._stub.EnrollFaces, request)

    def enroll_people(self, models: Sequence[str], people: Sequence[EnrolledPerson]) -> None:
        requests = [self._enrollment(models, person) for person in people]
        try:
            ask(self._stub.EnrollPeople, embedder_pb2.EnrollPeopleRequest(people=requests))
        except StageLacks:  # an embedder of an earlier version, while a new one is rolled out
            for request in requests:
                ask(self._stub.EnrollFaces, request)

    def _enrollment(self, models: Sequence[str], person: EnrolledPerson) -> embedder_pb2.EnrollFacesRequest:
        templates = self._embedded(models, [photo.face for photo in person.photos])
        photos = [_from_photo(photo, known) for photo, known in zip(person.photos, templates, strict=True)]
        return embedder_pb2.EnrollFacesRequest(
            person_id=person.person_id, models=models, photos=photos, keep_photo_ids=person.keep
        )

    def remove(self, person_id: str) -> None:
        ask(self._stub.RemovePerson, embedder_pb2.RemovePersonRequest(person_id=person_id))

    def unenrolled(self, person_ids: Sequence[str], models: Sequence[str]) -> list[str]:
        request = embedder_pb2.FindUnenrolledRequest(person_ids=person_ids, models=models)
        return list(ask(self._stub.FindUnenrolled, request).person_ids)

    def verify(
        self,
        person_id: str,
        measure: Measure,
        needed: tuple[int, int],
        probes: Sequence[Probe],
        augmented: Sequence[CropFile] = (),
    ) -> ClaimDecision:
        if not _fit([probe for probe in probes if isinstance(probe, CropFile)]):
            probes = self._embedded(measure.models, probes)
        request = embedder_pb2.VerifyFacesRequest(
            person_id=person_id,
            models=measure.models,
            distance=DISTANCES[measure.distance],
            probes=[_from_probe(probe) for probe in probes],
            min_pairs=needed[0],
            min_augmented_pairs=needed[1],
            strictness=_from_limit(measure.limit),
        )
        if not augmented:
            answer = ask(self._stub.VerifyFaces, request)
            if len(answer.probes) < len(probes) and any(isinstance(probe, CropFile) for probe in probes):
                # An embedder of an earlier version, while a new one is rolled out: it does not tell the templates.
                return self.verify(person_id, measure, needed, self._embedded(measure.models, probes))
            return _to_decision([answer], probes, needed[1])
        answers: list[embedder_pb2.VerifyFacesResponse] = []
        for piece in _pieces(augmented):
            del request.augmented_probes[:]
            request.augmented_probes.extend(map(_from_templates, self.embed(measure.models, piece)))
            answers.append(ask(self._stub.VerifyFaces, request))
            if (decision := _to_decision(answers, probes, needed[1])).verified:
                break
        return decision

    def _embedded(self, models: Sequence[str], probes: Sequence[Probe]) -> list[tuple[FaceTemplate, ...]]:
        made = iter(self.embed(models, [probe for probe in probes if isinstance(probe, CropFile)]))
        return [next(made) if isinstance(probe, CropFile) else probe for probe in probes]

    def generation(self, models: Sequence[str]) -> str:
        return ask(self._stub.FindUnenrolled, embedder_pb2.FindUnenrolledRequest(models=models)).generation

    def identify(
        self, measure: Measure, probes: Sequence[tuple[FaceTemplate, ...]], top_k: int = 0
    ) -> IdentifiedPeople:
        request = embedder_pb2.IdentifyFacesRequest(
            models=measure.models,
            distance=DISTANCES[measure.distance],
            probes=[_from_templates(templates) for templates in probes],
            top_k=top_k,
            strictness=_from_limit(measure.limit),
        )
        answer = ask(self._stub.IdentifyFaces, request)
        applied = tuple(AppliedThreshold(one.model, one.threshold, one.fmr or None) for one in answer.thresholds)
        return IdentifiedPeople(tuple(_to_match(match) for match in answer.matches), answer.generation, applied)

    def compare(
        self,
        measure: Measure,
        probes: Sequence[tuple[FaceTemplate, ...]],
        others: Sequence[tuple[FaceTemplate, ...]],
    ) -> list[FacePair]:
        request = embedder_pb2.CompareFacesRequest(
            models=measure.models,
            distance=DISTANCES[measure.distance],
            probes=[_from_templates(templates) for templates in probes],
            others=[_from_templates(templates) for templates in others],
            strictness=_from_limit(measure.limit),
        )
        return [_to_pair(pair) for pair in ask(self._stub.CompareFaces, request).pairs]

    def similar(self, measure: Measure, person_ids: Sequence[str]) -> list[tuple[str, PersonMatch]]:
        request = embedder_pb2.FindSimilarPeopleRequest(
            person_ids=person_ids,
            models=measure.models,
            distance=DISTANCES[measure.distance],
            strictness=_from_limit(measure.limit),
        )
        return [(pair.person_id, _to_match(pair.match)) for pair in ask(self._stub.FindSimilarPeople, request).pairs]

    def rebuild_index(self, models: Sequence[str]) -> list[str]:
        answer = ask(self._stub.RebuildIndex, embedder_pb2.RebuildIndexRequest(models=models))
        return [index.model for index in answer.indexes]

    def templates_of(self, models: Sequence[str], person_ids: Sequence[str]) -> PhotoTemplates:
        request = embedder_pb2.ListTemplatesRequest(person_ids=person_ids, models=models)
        return {
            (photo.person_id, photo.photo_id): tuple(map(_to_template, photo.templates))
            for photo in ask(self._stub.ListTemplates, request).photos
        }

    def drop_others(self, models: Sequence[str]) -> None:
        ask(self._stub.DropTemplates, embedder_pb2.DropTemplatesRequest(keep_models=models))

    def describe(self, measure: Measure) -> list[RecogniserFacts]:
        request = embedder_pb2.DescribeModelsRequest(models=measure.models, distance=DISTANCES[measure.distance])
        return [
            RecogniserFacts(one.name, one.version, one.dimension, one.threshold, one.threshold_source, one.fmr or None)
            for one in ask(self._stub.DescribeModels, request).models
        ]


def _pieces(crops: Sequence[CropFile]) -> Iterator[Sequence[CropFile]]:
    """As many as one call takes, each time."""
    piece: list[CropFile] = []
    size = 0
    for crop in crops:
        if piece and (len(piece) == EMBED_BATCH or size + len(crop.image) > EMBED_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(crop)
        size += len(crop.image)
    if piece:
        yield piece


def _fit(crops: Sequence[CropFile]) -> bool:
    """Whether one call takes them."""
    return len(list(_pieces(crops))) <= 1


def _to_templates(proto: embedder_pb2.EmbedFacesResponse.FaceTemplates) -> tuple[FaceTemplate, ...]:
    return tuple(_to_template(template) for template in proto.templates)


def _to_template(proto: embedder_pb2.Template) -> FaceTemplate:
    return FaceTemplate(proto.model, proto.model_version, tuple(proto.vector))


def _from_template(template: FaceTemplate) -> embedder_pb2.Template:
    return embedder_pb2.Template(model=template.model, model_version=template.version, vector=template.vector)


def _from_templates(templates: tuple[FaceTemplate, ...]) -> embedder_pb2.Probe:
    return embedder_pb2.Probe(templates=[_from_template(template) for template in templates])


def _from_probe(probe: Probe) -> embedder_pb2.Probe:
    return embedder_pb2.Probe(crop=from_crop(probe)) if isinstance(probe, CropFile) else _from_templates(probe)


def _from_photo(photo: EnrollmentPhoto, templates: tuple[FaceTemplate, ...]) -> embedder_pb2.GalleryPhoto:
    return embedder_pb2.GalleryPhoto(
        photo_id=photo.photo_id, augmented=photo.augmented, templates=[_from_template(one) for one in templates]
    )


def _to_decision(
    answers: Sequence[embedder_pb2.VerifyFacesResponse], probes: Sequence[Probe], min_augmented_pairs: int
) -> ClaimDecision:
    """What answers about the same probes and different augmented ones say together: pairs are counted on."""
    matching = sum(answer.matching_augmented_pairs for answer in answers)
    verified = any(answer.verified for answer in answers) or matching >= max(1, min_augmented_pairs)
    bests = [_to_match(answer.best) for answer in answers if answer.HasField("best")]
    best = min(bests, key=lambda match: match.distance / match.threshold, default=None)
    fusion = _to_fusion(answers[0].fusion) if answers[0].HasField("fusion") else None
    made = [_to_templates(face) for face in answers[0].probes]
    templates = tuple(made or [probe for probe in probes if not isinstance(probe, CropFile)])
    return ClaimDecision(verified, best, fusion, templates, answers[0].unenrolled)


def _to_match(proto: embedder_pb2.Match) -> PersonMatch:
    return PersonMatch(
        proto.person_id,
        proto.distance,
        proto.threshold,
        proto.fmr or None,
        proto.similarity,
        proto.model,
        proto.probe,
    )


def _to_pair(proto: embedder_pb2.CompareFacesResponse.Pair) -> FacePair:
    return FacePair(
        proto.probe,
        proto.other,
        proto.matches,
        proto.model,
        proto.distance,
        proto.threshold,
        proto.similarity,
        proto.fmr or None,
    )


def _from_limit(limit: Limit) -> embedder_pb2.Strictness | None:
    if limit == USUAL:
        return None
    return embedder_pb2.Strictness(threshold=limit.threshold or 0.0, max_fmr=limit.max_fmr or 0.0)


def _to_fusion(proto: results_pb2.Fusion) -> FusedDecision:
    return FusedDecision(proto.verified, proto.score, tuple(proto.models))
