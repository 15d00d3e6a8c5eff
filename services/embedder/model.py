"""The embedder: what each RPC does, in domain terms."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from services.common import call
from services.common.errors import InvalidRequest
from services.common.faces import FaceCrop
from services.embedder.gallery.models import drop_others
from services.embedder.gallery.population import Population
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import PersonChange, StoredPhoto, Template, Templates, check_vectors, model_key
from services.embedder.matching import (
    Criterion,
    Match,
    Metric,
    Pairs,
    compare,
    distances,
    fuse,
    one_a_person,
    suffices,
    together,
)
from services.embedder.recognition.registry import Recogniser, Recognisers, Strictness
from services.embedder.search.index import Indexes
from services.embedder.types import (
    Claim,
    Comparison,
    Enrollment,
    Identification,
    IndexSize,
    ModelFacts,
    Sample,
    Search,
    SimilarSearch,
    Verification,
)

#: Others who are told of whoever is like somebody, and the photos of somebody that are compared.
MOST_SIMILAR = 10
MOST_PROBES = 64

#: Crops decoded and embedded at a time: bounds memory, whatever a request brings.
EMBED_BATCH = 16


class Embedder:
    """Embeds faces, keeps the templates of enrolled people, compares them 1:1 and searches them 1:N.

    Safe to use from several threads. Every method that takes models raises UnknownModel and ModelUnavailable, every one
    that takes faces InvalidImage and InvalidRequest, and all but `embed` DatabaseUnavailable.
    """

    def __init__(self, recognisers: Recognisers, gallery: Gallery, indexes: Indexes):
        self._recognisers = recognisers
        self._gallery = gallery
        self._indexes = indexes
        self._population = Population(gallery)

    def embed(self, models: Sequence[str], faces: Sequence[Sample]) -> list[tuple[Template, ...]]:
        """The templates of each face (at least one), in the order of `models`. Stores nothing."""
        _check_some("faces", faces)
        recognisers = self._get(models)
        return _templates(recognisers, _embed(recognisers, faces))

    def enroll(self, enrollment: Enrollment) -> int:
        """Sets what is stored of a person, in one transaction; returns how many photos they have then."""
        (count,) = self.enroll_all([enrollment])
        return count

    def enroll_all(self, enrollments: Sequence[Enrollment]) -> list[int]:
        """The same of several people: all, or nobody."""
        if len({enrollment.person_id for enrollment in enrollments}) < len(enrollments):
            raise InvalidRequest("each person can be there once")
        return self._gallery.enroll_all([self._change(enrollment) for enrollment in enrollments])

    def _change(self, enrollment: Enrollment) -> PersonChange:
        _check_ids(enrollment.person_id, *(photo.photo_id for photo in enrollment.photos))
        if len({photo.photo_id for photo in enrollment.photos}) < len(enrollment.photos):
            raise InvalidRequest("photo ids must be unique within the person")
        recognisers = self._get(enrollment.models)
        columns = _embed(recognisers, [photo.face for photo in enrollment.photos])
        keys = [_key(recogniser) for recogniser in recognisers]
        photos = [
            StoredPhoto(photo.photo_id, photo.augmented, dict(zip(keys, vectors, strict=True)))
            for photo, *vectors in zip(enrollment.photos, *columns, strict=True)
        ]
        changing = keys if enrollment.keep_other_models else ()
        return PersonChange(enrollment.person_id, photos, enrollment.keep_photo_ids, changing)

    def remove(self, person_id: str) -> int:
        """Forgets a person; returns how many photos they had.

        Raises:
            IndexUnavailable: they are still in the vector database; removing them once more is right.
        """
        photos = self._gallery.remove(person_id)
        self._indexes.erase()  # also where they are gone already: the last time may have been interrupted
        return photos

    def stored(self, person_ids: Sequence[str], models: Sequence[str]) -> dict[tuple[str, str], tuple[Template, ...]]:
        """What is stored of people: (person id, photo id) → templates of the models as they are now."""
        found: dict[tuple[str, str], tuple[Template, ...]] = {}
        for recogniser in self._get(models):
            for person_id, templates in self._gallery.templates_of_all(person_ids, _key(recogniser)).items():
                for photo_id, vector in zip(templates.photo_ids, templates.vectors, strict=True):
                    template = Template(recogniser.name, recogniser.version, vector)
                    found[person_id, photo_id] = (*found.get((person_id, photo_id), ()), template)
        return found

    def find_unenrolled(self, person_ids: Sequence[str], models: Sequence[str]) -> list[str]:
        """Those who have no photos here, or lack a template of one of the models as it is now."""
        return self._gallery.unenrolled(person_ids, [_key(recogniser) for recogniser in self._get(models)])

    def generation(self, models: Sequence[str]) -> str:
        """Changes when templates were dropped, or when a model became another version."""
        keys = sorted(_key(recogniser) for recogniser in self._get(models))
        return f"{self._gallery.revision().epoch} {' '.join(keys)}"

    def verify(self, claim: Claim) -> Verification:
        """Do the probes show the person? Nobody is verified as a person of whom there are no templates."""
        _check_some("probes", claim.probes)
        if claim.min_pairs < 1:
            raise InvalidRequest("min_pairs: 1 or more is needed")
        if claim.augmented_probes and claim.min_augmented_pairs < 1:
            raise InvalidRequest("min_augmented_pairs: 1 or more is needed where there are augmented probes")
        _check_one_distance(claim.strictness, claim.models)
        recognisers = self._get(claim.models)
        probes = _embed(recognisers, claim.probes)
        stored = self._gallery.of_person(claim.person_id, [_key(recogniser) for recogniser in recognisers])
        parts = self._compare(claim, probes, [gallery.real() for gallery in stored.templates])
        real = together(pairs for _, pairs in parts)
        verified = suffices(real, claim.min_pairs, len(claim.probes))
        made = tuple(_templates(recognisers, probes))
        result = Verification(verified, real.matching, 0, real.best, fuse(parts), made, not stored.is_complete)
        if verified or not claim.augmented_probes:
            return result
        parts = self._compare(claim, _embed(recognisers, claim.augmented_probes), stored.templates)
        augmented = together(pairs for _, pairs in parts)
        return replace(
            result,
            verified=augmented.matching >= claim.min_augmented_pairs,
            matching_augmented_pairs=augmented.matching,
            best=together((real, augmented)).best,
        )

    def identify(self, search: Search) -> Identification:
        """The people whose photos are nearest to the probes, within the threshold."""
        _check_some("probes", search.probes)
        recognisers = self._get(search.models)
        _check_one_distance(search.strictness, recognisers)
        people = self._population.count()
        matches, criteria = [], []
        for recogniser, vectors in zip(recognisers, _embed(recognisers, search.probes), strict=True):
            criterion = self._recognisers.search_criterion(recogniser.name, search.metric, people, search.strictness)
            index = self._indexes.current(_key(recogniser), recogniser.dimension)
            found = index.search(vectors, search.metric, criterion.threshold, search.top_k or 1)
            matches += [
                criterion.match(hit.person_id, hit.photo_id, hit.distance, probe)
                for probe, hits in enumerate(found)
                for hit in hits
            ]
            criteria.append(criterion)
        return Identification(one_a_person(matches) if not search.top_k else _best(matches, search), tuple(criteria))

    def compare(self, search: Search, others: Sequence[Sample]) -> list[Comparison]:
        """Every pair of a probe and another face, by the model that sees them nearest relative to its threshold."""
        _check_some("probes", search.probes)
        _check_some("others", others)
        recognisers = self._get(search.models)
        _check_one_distance(search.strictness, recognisers)
        pairs: dict[tuple[int, int], Comparison] = {}
        both = zip(recognisers, _embed(recognisers, search.probes), _embed(recognisers, others), strict=True)
        for recogniser, left, right in both:
            criterion = self._recognisers.criterion(recogniser.name, search.metric, search.strictness)
            for (probe, other), distance in np.ndenumerate(distances(search.metric, left, right)):
                match = criterion.match("", "", float(distance), probe)
                fmr = self._recognisers.fmr_at(recogniser.name, search.metric, float(distance))
                pair = Comparison(probe, other, match, fmr)
                before = pairs.setdefault((probe, other), pair)
                pairs[probe, other] = min(before, pair, key=lambda one: one.match.rank())
        return [pairs[key] for key in sorted(pairs)]

    def similar(self, search: SimilarSearch) -> dict[str, list[Match]]:
        """Of each of these people the others whom their photos match, best first, MOST_SIMILAR at most."""
        _check_some("person_ids", search.person_ids)
        recognisers = self._get(search.models)
        _check_one_distance(search.strictness, recognisers)
        people = self._population.count()
        matches: dict[str, list[Match]] = {person_id: [] for person_id in search.person_ids}
        for recogniser in recognisers:
            criterion = self._recognisers.search_criterion(recogniser.name, search.metric, people, search.strictness)
            index = self._indexes.current(_key(recogniser), recogniser.dimension)
            for person_id, found in matches.items():
                call.check()
                taken = self._gallery.templates_of(person_id, _key(recogniser)).real().vectors[:MOST_PROBES]
                hits = index.search(taken, search.metric, criterion.threshold, MOST_SIMILAR + 1) if len(taken) else []
                others = [hit for near in hits for hit in near if hit.person_id != person_id]
                found += [criterion.match(hit.person_id, hit.photo_id, hit.distance, 0) for hit in others]
        return {person_id: one_a_person(found)[:MOST_SIMILAR] for person_id, found in matches.items()}

    def drop_templates(self, keep_models: Sequence[str] = ()) -> int:
        """Forgets everybody, and all that was made of their templates; returns how many templates there were.

        Args:
            keep_models: names of models whose templates stay; none where all go.
        """
        dropped = drop_others(self._gallery, keep_models) if keep_models else self._gallery.drop_all()
        if dropped or not keep_models:
            self._indexes.forget()
        return dropped

    def rebuild_index(self, models: Sequence[str]) -> list[IndexSize]:
        """Makes the search indexes anew now rather than bringing them up to date at the next search."""
        sizes = []
        for recogniser in self._get(models):
            index = self._indexes.rebuild(_key(recogniser), recogniser.dimension)
            sizes.append(IndexSize(recogniser.name, len(index)))
        return sizes

    def describe(self, models: Sequence[str], metric: Metric) -> list[ModelFacts]:
        """What the models are, in their order."""
        found = [(one, self._recognisers.criterion(one.name, metric)) for one in self._get(models)]
        return [
            ModelFacts(
                one.name,
                one.version,
                one.dimension,
                criterion.threshold,
                self._recognisers.source(one.name),
                criterion.fmr,
            )
            for one, criterion in found
        ]

    def _get(self, models: Sequence[str]) -> list[Recogniser]:
        _check_some("models", models)
        recognisers = [self._recognisers.get(name) for name in models]
        if len({recogniser.name for recogniser in recognisers}) < len(recognisers):
            raise InvalidRequest("models: each may be named once only")
        return recognisers

    def _compare(
        self, claim: Claim, probes: Sequence[np.ndarray], galleries: Sequence[Templates]
    ) -> list[tuple[Criterion, Pairs]]:
        """Of each model, in the order of the claim's, the pairs of its templates."""
        criteria = [self._recognisers.criterion(name, claim.metric, claim.strictness) for name in claim.models]
        return [
            (criterion, compare(criterion, vectors, claim.person_id, gallery))
            for criterion, vectors, gallery in zip(criteria, probes, galleries, strict=True)
        ]


def _templates(recognisers: Sequence[Recogniser], columns: Sequence[np.ndarray]) -> list[tuple[Template, ...]]:
    """Of each face, in the order of the models, from each model's (n, d)."""
    made = [
        [Template(recogniser.name, recogniser.version, vector) for vector in vectors]
        for recogniser, vectors in zip(recognisers, columns, strict=True)
    ]
    return list(zip(*made, strict=True))


def _key(recogniser: Recogniser) -> str:
    return model_key(recogniser.name, recogniser.version)


def _embed(recognisers: Sequence[Recogniser], faces: Sequence[Sample]) -> list[np.ndarray]:
    """For each model float32 (n, d): the templates that faces bring along, and those that the network makes."""
    columns = [np.empty((len(faces), recogniser.dimension), dtype=np.float32) for recogniser in recognisers]
    for start in range(0, len(faces), EMBED_BATCH):
        piece = slice(start, start + EMBED_BATCH)
        batch = [replace(face, crop=face.crop and cache(face.crop)) for face in faces[piece]]  # decoded once at most
        for recogniser, vectors in zip(recognisers, columns, strict=True):
            call.check()
            vectors[piece] = _embed_batch(recogniser, batch)
    for vectors in columns:
        check_vectors(vectors)
    return columns


def _embed_batch(recogniser: Recogniser, faces: Sequence[Sample]) -> np.ndarray:
    known = [_known(recogniser, face) for face in faces]
    crops = [_crop(recogniser, face) for face, vector in zip(faces, known, strict=True) if vector is None]
    made = iter(recogniser.embed(crops) if crops else ())
    return np.stack([next(made) if vector is None else vector for vector in known])


def _known(recogniser: Recogniser, face: Sample) -> np.ndarray | None:
    for template in face.templates:
        if (template.model, template.version) == (recogniser.name, recogniser.version):
            if template.vector.shape != (recogniser.dimension,):
                raise InvalidRequest(f"a template of {recogniser.name} must have {recogniser.dimension} numbers")
            return template.vector
    return None


def _crop(recogniser: Recogniser, face: Sample) -> FaceCrop:
    if face.crop is None:
        raise InvalidRequest(f"a face needs a crop or a template of {recogniser.name} {recogniser.version}")
    return face.crop()


def _best(matches: Sequence[Match], search: Search) -> list[Match]:
    """The best people of each probe, whatever model found them."""
    each = [one_a_person(match for match in matches if match.probe == probe) for probe in range(len(search.probes))]
    return [match for found in each for match in found[: search.top_k]]


def _check_one_distance(strictness: Strictness, models: Sequence[object]) -> None:
    if strictness.threshold is not None and len(models) > 1:
        raise InvalidRequest("threshold: several models have no distance in common; max_fmr is for all")


def _check_ids(*ids: str) -> None:
    for some in ids:
        if not 1 <= len(some) <= 255 or some != some.strip() or not some.isprintable():
            raise InvalidRequest("ids must have 1 to 255 printable characters and no spaces around them")


def _check_some(field: str, values: Sequence[object]) -> None:
    if not values:
        raise InvalidRequest(f"{field}: at least one is needed")
