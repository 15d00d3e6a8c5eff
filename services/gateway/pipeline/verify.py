"""Verification: is this the person the upload names (1:1), and if not, who is it (1:N)?"""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from services.common.errors import InvalidImage
from services.common.faces import Verdict, View
from services.gateway.access.attempts import Attempts
from services.gateway.errors import NoFace, NothingToDo
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.parallel import attempt, map_parallel, submit
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.profile import answered_name
from services.gateway.pipeline.search import EnrolledPeople
from services.gateway.stages.types import (
    ClaimDecision,
    CropFile,
    Detection,
    FaceLiveness,
    FaceTemplate,
    FusedDecision,
    Measure,
    PersonMatch,
    Stages,
)
from services.gateway.storage.types import PersonRecord, Upload, Workspace, split_upload_id

#: Faces of an upload that take part: shared out evenly among its photos, the most confident of each. The embedder takes as
#: many in one call.
MAX_FACES = 256


class VerificationOutcome(Enum):
    """How a verification ended."""

    VERIFIED = 1
    FOUND_SAME = 2
    FOUND_OTHER = 3
    FOUND_NONE = 4
    SPOOF = 5


@dataclass(frozen=True)
class VerifyOptions:
    """What is to be left out."""

    skip_verify: bool = False
    skip_search: bool = False
    skip_liveness: bool = False


@dataclass(frozen=True)
class VerificationResult:
    """A verification that ended.

    Attributes:
        name, match: None where nobody was recognised as the person the upload names.
        liveness: of each face, none where it was not checked.
        fusion: None where nothing was compared 1:1.
        recognised: IDs of those whom the faces were verified as, or who were found.
    """

    outcome: VerificationOutcome
    name: str | None = None
    match: PersonMatch | None = None
    liveness: tuple[FaceLiveness, ...] = ()
    fusion: FusedDecision | None = None
    recognised: tuple[str, ...] = ()

    @property
    def distance(self) -> float | None:
        """Of the match."""
        return self.match.distance if self.match else None


@dataclass(frozen=True)
class _Photo:
    """A photo of the upload, and what the detector found in it."""

    image: bytes
    detection: Detection


@dataclass(frozen=True)
class _Probe:
    """A face of the upload: the photo that it is in, its number there, its templates."""

    image: bytes
    number: int
    templates: tuple[FaceTemplate, ...]


@dataclass(frozen=True)
class _Probed:
    """The faces, and how they compare with the person; None where they were not compared."""

    probes: list[_Probe]
    decision: ClaimDecision | None

    def only_real(self, liveness: Sequence[FaceLiveness]) -> "_Probed":
        """The faces that were judged real: one that cannot be judged is not let through."""
        both = zip(self.probes, liveness, strict=True)
        real = [probe for probe, judged in both if judged.verdict is Verdict.REAL]
        return self if len(real) == len(self.probes) else _Probed(real, None)


@dataclass(frozen=True)
class _Claim:
    """That the faces are a person's: the row, and how they compare; None where 1:1 is skipped."""

    person_id: str
    record: PersonRecord | None
    decision: ClaimDecision | None


class Verifier:
    """Verifies and searches."""

    def __init__(
        self,
        stages: Stages,
        people: EnrolledPeople,
        executor: Executor,
        attempts: Attempts,
        uses: LastUses,
        fused: bool = False,
    ):
        """
        Args:
            uses: is told who is recognised.
            fused: 1:1 is decided by what the models say together, rather than by counting pairs, where they can say.
        """
        self._fused = fused
        self._attempts = attempts
        self._uses = uses
        self._detector = stages.detector
        self._liveness = stages.liveness
        self._embedder = stages.embedder
        self._people = people
        self._executor = executor

    def verify(self, workspace: Workspace, upload_id: str, options: VerifyOptions) -> VerificationResult:
        """Verifies the faces of an upload; the upload stays as it is.

        Raises:
            InvalidPersonId, NothingToDo, UploadUnknown, PhotoMissing, UploadEmpty, NoFace, LivenessUnavailable,
            DatabaseUnavailable, NotEnrolled, PersonFolderMissing, TooManyAttempts.
        """
        person_id = check_person_id(split_upload_id(upload_id)[0], workspace.env.id_regex)
        if options.skip_verify and options.skip_search:
            raise NothingToDo("verification and search cannot both be skipped")
        upload = workspace.uploads.open(upload_id)
        self._attempts.claim(person_id)
        enrolled = None if options.skip_verify else attempt(self._people.get, workspace, person_id)
        photos = self._detect(workspace, upload, () if options.skip_liveness else self._liveness.views)
        checks = [] if options.skip_liveness else self._start_liveness(photos)
        probing = attempt(self._probe, workspace, photos, enrolled)
        judged = [check.result() for check in checks]
        liveness = tuple(face for faces in judged for face in faces)
        if judged and not _is_living(judged):
            return VerificationResult(VerificationOutcome.SPOOF, liveness=liveness)
        record = enrolled.result() if enrolled else None
        probed = probing.result()
        probed = probed.only_real(liveness) if liveness else probed
        decision = self._decide(workspace, record, probed) if record else None
        result = self._recognise(workspace, _Claim(person_id, record, decision), probed.probes, options)
        self._uses.recognised(result.recognised)
        return replace(result, liveness=liveness)

    def _detect(self, workspace: Workspace, upload: Upload, views: tuple[View, ...]) -> list[_Photo]:
        most = max(1, MAX_FACES // max(1, len(upload.photos)))

        def detect(photo: str) -> _Photo:
            image = workspace.uploads.read(upload, photo)
            try:
                found = self._detector.detect(image, workspace.crop_size, views)
                return _Photo(image, replace(found, faces=found.faces[:most]))
            except InvalidImage:  # a file that was put there by hand
                return _Photo(image, Detection((), image))

        photos = map_parallel(self._executor, detect, upload.photos)
        if not any(photo.detection.faces for photo in photos):
            raise NoFace("no photo shows a face")
        return photos

    def _probe(self, workspace: Workspace, photos: Sequence[_Photo], enrolled: Future[PersonRecord] | None) -> _Probed:
        """The faces' templates; and in the same call compared with the person, where that is not skipped."""
        faces = [(photo.image, number, face) for photo in photos for number, face in enumerate(photo.detection.faces)]
        crops = [face.crop for _, _, face in faces]
        decision = None
        if enrolled:
            decision = self._embedder.verify(enrolled.result().person_id, *_rule(workspace), crops)
        made = decision.templates if decision else self._embedder.embed(workspace.models.answering, crops)
        both = zip(faces, made, strict=True)
        return _Probed([_Probe(image, number, templates) for (image, number, _), templates in both], decision)

    def _start_liveness(self, photos: Sequence[_Photo]) -> list[Future[list[FaceLiveness]]]:
        """Of each photo that shows faces."""
        detections = [photo.detection for photo in photos if photo.detection.faces]
        return [submit(self._executor, self._liveness.check, detection) for detection in detections]

    def _recognise(
        self, workspace: Workspace, claim: _Claim, probes: Sequence[_Probe], options: VerifyOptions
    ) -> VerificationResult:
        """1:1 where there was a record to compare with, then 1:N where that does not verify."""
        record, decision = claim.record, claim.decision
        fusion = decision.fusion if decision else None
        if record and decision and decision.verified:
            name, ids = answered_name(workspace, record), (record.person_id,)
            return VerificationResult(VerificationOutcome.VERIFIED, name, decision.best, fusion=fusion, recognised=ids)
        if options.skip_search:
            return VerificationResult(VerificationOutcome.FOUND_NONE, fusion=fusion)
        return replace(self._search(workspace, claim.person_id, probes), fusion=fusion)

    def _decide(self, workspace: Workspace, record: PersonRecord, probed: _Probed) -> ClaimDecision:
        """The faces as photographed are compared first, augmented ones made of them only where those do not suffice."""
        templates = [probe.templates for probe in probed.probes]
        decision = probed.decision
        if decision is None or decision.unenrolled:
            decision = self._people.verify(workspace, record, *_rule(workspace), templates)
        if self._fused and decision.fusion:
            return replace(decision, verified=decision.fusion.verified)
        if not decision.verified and workspace.env.num_aug:
            augmented = self._augment(workspace, probed.probes)
            decision = self._embedder.verify(record.person_id, *_rule(workspace), templates, augmented)
        return decision

    def _augment(self, workspace: Workspace, probes: Sequence[_Probe]) -> list[CropFile]:
        """Changed versions of the probes; the detector finds the same faces in the same order, of a crowd fewer."""
        images = list(dict.fromkeys(probe.image for probe in probes))
        prepare = partial(self._detector.augment, size=workspace.crop_size, augmentations=workspace.env.num_aug)
        faces = dict(zip(images, map_parallel(self._executor, prepare, images), strict=True))
        found = [(faces[probe.image], probe.number) for probe in probes]
        return [crop for prepared, number in found for face in prepared[number : number + 1] for crop in face.augmented]

    def _search(self, workspace: Workspace, person_id: str, probes: Sequence[_Probe]) -> VerificationResult:
        found = self._people.search(workspace, [probe.templates for probe in probes]).people
        ids = tuple(record.person_id for record, _ in found)
        for record, match in found:
            if record.person_id == person_id:
                name = answered_name(workspace, record)
                return VerificationResult(VerificationOutcome.FOUND_SAME, name, match, recognised=ids)
        outcome = VerificationOutcome.FOUND_OTHER if found else VerificationOutcome.FOUND_NONE
        return VerificationResult(outcome, recognised=ids)


def _is_living(photos: Sequence[Sequence[FaceLiveness]]) -> bool:
    """Whether the photos together show somebody alive: half of those that can be judged show a living face, at least one.

    A screen that is taken for a face in one frame of many does not get through by sending many.
    """
    verdicts = [{face.verdict for face in faces} for faces in photos]
    living = sum(Verdict.REAL in found for found in verdicts)
    judged = sum(bool(found - {Verdict.UNDECIDABLE}) for found in verdicts)
    return living > 0 and 2 * living >= judged


def _rule(workspace: Workspace) -> tuple[Measure, tuple[int, int]]:
    """How probes are compared 1:1, and how many pairs verify; see EmbedderStage.verify."""
    env = workspace.env
    return Measure(workspace.models.answering, env.sim_func), (env.ver_tol, env.ver_tol_aug)
