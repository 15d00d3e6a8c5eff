"""Faces in a picture that is looked at and not kept: where they are, whose they are, whether two are one person's."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Protocol

from services.common.faces import Verdict, View
from services.gateway.errors import NoFace
from services.gateway.pipeline.appearance import Pose, complaints_of, pose_of
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.parallel import attempt, submit
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.profile import profile_of
from services.gateway.pipeline.search import EnrolledPeople
from services.gateway.stages.types import (
    USUAL,
    AppliedThreshold,
    Detection,
    FaceLiveness,
    FacePair,
    FaceTemplate,
    FoundFace,
    Limit,
    Measure,
    PersonMatch,
    PhotoQuality,
    Stages,
)
from services.gateway.storage.profiles import Profile
from services.gateway.storage.types import Workspace

#: Faces of a picture that are looked at, the largest first; of two that are compared, of each.
MAX_FACES = 64
#: People who are looked through for those with a label.
MOST_WITH_LABELS = 100
#: Candidates of all faces of a picture: of a crowd fewer are told of each.
MOST_CANDIDATES = 640
#: Matching pairs that verify, of faces as photographed and of augmented ones, of which there are none.
ONE_PAIR = (1, 1)
#: The similarity of a face at the usual threshold.
SIMILAR = 50.0


class Claims(Protocol):
    """Limits how often an ID may be claimed; see Attempts."""

    def claim(self, person_id: str) -> None: ...


@dataclass(frozen=True)
class SeenFace:
    """A face, and how it looks; `liveness` is None where it was not asked for."""

    face: FoundFace
    pose: Pose
    complaints: tuple[str, ...]
    liveness: FaceLiveness | None


@dataclass(frozen=True)
class Sight:
    """What a picture shows: faces, the largest first, and how good it is."""

    faces: tuple[SeenFace, ...]
    quality: PhotoQuality


@dataclass(frozen=True)
class Likeness:
    """Two pictures compared: the faces of each, the largest first, and every pair of them, the most alike first."""

    faces: tuple[FoundFace, ...]
    others: tuple[FoundFace, ...]
    pairs: tuple[FacePair, ...]


@dataclass(frozen=True)
class IdentifyOptions:
    """Who is wanted.

    Attributes:
        top_k: people of each face, 1 to 100.
        labels: only people who have one of them; none: all.
    """

    top_k: int
    labels: frozenset[str] = frozenset()
    limit: Limit = USUAL


@dataclass(frozen=True)
class IdentifiedFace:
    """A face and who it may be, best first; nobody: unknown."""

    face: FoundFace
    candidates: tuple[tuple[Profile, PersonMatch], ...]


@dataclass(frozen=True)
class IdentifiedFaces:
    """Faces, the largest first, and the thresholds that were applied."""

    faces: tuple[IdentifiedFace, ...]
    thresholds: tuple[AppliedThreshold, ...]


@dataclass(frozen=True)
class FaceClaim:
    """That a picture shows somebody, and how that is looked at."""

    person_id: str
    skip_liveness: bool = False
    largest_only: bool = False
    limit: Limit = USUAL


@dataclass(frozen=True)
class FaceVerdict:
    """Whether it does.

    Attributes:
        person: None unless verified.
        match: of the nearest face; None where none was compared.
        liveness: of the faces, the largest first; none where it was skipped.
    """

    person: Profile | None
    match: PersonMatch | None
    liveness: tuple[FaceLiveness, ...]

    @property
    def spoof(self) -> bool:
        """Whether no face is a living one."""
        return bool(self.liveness) and not any(face.verdict is Verdict.REAL for face in self.liveness)


class FaceReader:
    """Looks at pictures. Every method raises InvalidImage and StageUnavailable, and all but `see` DatabaseUnavailable."""

    def __init__(self, stages: Stages, people: EnrolledPeople, executor: Executor, attempts: Claims, uses: LastUses):
        """`uses`: is told who is recognised."""
        self._uses = uses
        self._detector = stages.detector
        self._liveness = stages.liveness
        self._embedder = stages.embedder
        self._people = people
        self._attempts = attempts
        self._executor = executor

    def see(self, workspace: Workspace, image: bytes, check_liveness: bool, largest_only: bool) -> Sight:
        """The faces of a picture; none is an answer."""
        scoring = submit(self._executor, self._detector.score, image)
        found = self._detect(workspace, image, largest_only, self._liveness.views if check_liveness else ())
        checks: Sequence[FaceLiveness | None] = [None] * len(found.faces)
        if check_liveness and found.faces:
            checks = self._liveness.check(found)
        quality = scoring.result()
        faces = [
            SeenFace(face, pose_of(face.landmarks), tuple(complaints_of(face, quality)), liveness)
            for face, liveness in zip(found.faces, checks, strict=True)
        ]
        return Sight(tuple(faces), quality)

    def compare(self, workspace: Workspace, image: bytes, other: bytes, largest_only: bool, limit: Limit) -> Likeness:
        """Every face of one picture with every face of another; raises NoFace where one has none."""
        second = submit(self._executor, self._embedded, workspace, other, largest_only, "other_image")
        faces, probes = self._embedded(workspace, image, largest_only)
        others, templates = second.result()
        measure = Measure(workspace.models.answering, workspace.env.sim_func, limit)
        pairs = self._embedder.compare(measure, probes, templates)
        return Likeness(faces, others, tuple(sorted(pairs, key=lambda pair: pair.distance / pair.threshold)))

    def identify(
        self, workspace: Workspace, image: bytes, largest_only: bool, options: IdentifyOptions
    ) -> IdentifiedFaces:
        """Who the faces of a picture are; a picture without any has none. Raises TooManyAttempts, see `_note`."""
        found = self._detect(workspace, image, largest_only)
        if not found.faces:
            return IdentifiedFaces((), ())
        probes = self._embed(workspace, found.faces)
        wanted = MOST_WITH_LABELS if options.labels else options.top_k
        most = max(1, min(wanted, MOST_CANDIDATES // len(found.faces)))
        people = self._people.search(workspace, probes, most, options.limit)
        candidates: list[list[tuple[Profile, PersonMatch]]] = [[] for _ in found.faces]
        records = {record.person_id: record for record, _ in people.people}
        profiles = {person_id: profile_of(workspace, record) for person_id, record in records.items()}
        for record, match in people.people:
            profile = profiles[record.person_id]
            if not options.labels or options.labels & set(profile.labels):
                candidates[match.probe].append((profile, match))
        named = zip(found.faces, candidates, strict=True)
        faces = tuple(IdentifiedFace(face, tuple(those[: options.top_k])) for face, those in named)
        self._note([candidate for face in faces for candidate in face.candidates])
        return IdentifiedFaces(faces, people.thresholds)

    def verify(self, workspace: Workspace, image: bytes, claim: FaceClaim) -> FaceVerdict:
        """Whether a picture shows the person of an ID.

        Raises:
            InvalidPersonId, NoFace, NotEnrolled, PersonFolderMissing, LivenessUnavailable, TooManyAttempts.
        """
        person_id = check_person_id(claim.person_id, workspace.env.id_regex)
        self._attempts.claim(person_id)
        views = () if claim.skip_liveness else self._liveness.views
        enrolled = attempt(self._people.get, workspace, person_id)  # here: it may have work for the executor
        found = self._detect(workspace, image, claim.largest_only, views)
        if not found.faces:
            raise NoFace("image: no face was found")
        checking = None if claim.skip_liveness else submit(self._executor, self._liveness.check, found)
        measure = Measure(workspace.models.answering, workspace.env.sim_func, claim.limit)
        crops = [face.crop for face in found.faces]
        comparing = attempt(lambda: self._embedder.verify(enrolled.result().person_id, measure, ONE_PAIR, crops))
        liveness = tuple(checking.result()) if checking else ()
        verdict = FaceVerdict(None, None, liveness)
        if verdict.spoof:
            return verdict
        decision, record = comparing.result(), enrolled.result()
        probes = [
            templates
            for templates, judged in zip_longest(decision.templates, liveness)
            if judged is None or judged.verdict is Verdict.REAL
        ]
        if decision.unenrolled or len(probes) < len(crops):
            decision = self._people.verify(workspace, record, measure, ONE_PAIR, probes)
        person = profile_of(workspace, record) if decision.verified else None
        if person:
            self._uses.recognised((person_id,))
        return replace(verdict, person=person, match=decision.best)

    def _note(self, candidates: Sequence[tuple[Profile, PersonMatch]]) -> None:
        """Those within the usual threshold are recognised. To be told of one farther away is a claim of their ID: nobody
        may climb towards a face by its distances."""
        far = {profile.person_id for profile, match in candidates if match.similarity < SIMILAR}
        near = {profile.person_id for profile, match in candidates if match.similarity >= SIMILAR}
        for person_id in sorted(far - near):
            self._attempts.claim(person_id)
        self._uses.recognised(near)

    def _detect(
        self, workspace: Workspace, image: bytes, largest_only: bool, views: tuple[View, ...] = ()
    ) -> Detection:
        """With the largest faces first."""
        found = self._detector.detect(image, workspace.crop_size, views)
        largest = sorted(found.faces, key=lambda face: face.box.width * face.box.height, reverse=True)
        return replace(found, faces=tuple(largest[: 1 if largest_only else MAX_FACES]))

    def _embed(self, workspace: Workspace, faces: Sequence[FoundFace]) -> list[tuple[FaceTemplate, ...]]:
        return self._embedder.embed(workspace.models.answering, [face.crop for face in faces])

    def _embedded(
        self, workspace: Workspace, image: bytes, largest_only: bool, field: str = "image"
    ) -> tuple[tuple[FoundFace, ...], list[tuple[FaceTemplate, ...]]]:
        found = self._detect(workspace, image, largest_only)
        if not found.faces:
            raise NoFace(f"{field}: no face was found")
        return found.faces, self._embed(workspace, found.faces)
