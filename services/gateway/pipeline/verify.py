"""Verification: is this the person the upload names (1:1), and if not, who is it (1:N)?"""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from services.common.call import seconds_left
from services.common.errors import DatabaseRefused, InvalidImage
from services.gateway.errors import NoFace, NotEnrolled, NothingToDo, PersonFolderMissing
from services.gateway.pipeline.parallel import attempt, map_parallel, submit
from services.gateway.pipeline.people import check_person_id, display_name
from services.gateway.pipeline.reconcile import Galleries
from services.gateway.stages.types import (
    Comparison,
    Crop,
    Detector,
    Embedder,
    FaceLiveness,
    Fusion,
    Liveness,
    Look,
    Match,
    PreparedFace,
    Template,
    Verdict,
    Verification,
)
from services.gateway.storage.records import PersonRecord
from services.gateway.storage.uploads import read_photo, split_upload_id
from services.gateway.storage.workspace import Workspace


class Outcome(Enum):
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
class Verified:
    """The outcome; `name` and `distance` are None where nobody was recognised as the person the upload names."""

    outcome: Outcome
    name: str | None = None
    distance: float | None = None
    liveness: tuple[FaceLiveness, ...] = ()
    fusion: Fusion | None = None


@dataclass(frozen=True)
class _Photo:
    """A photo of the upload, and what the detector saw in it."""

    image: bytes
    look: Look

    @property
    def faces(self) -> tuple[PreparedFace, ...]:
        return self.look.faces


@dataclass(frozen=True)
class _Probe:
    """A face of the upload: the photo that it is in, its number there, its templates."""

    image: bytes
    number: int
    templates: tuple[Template, ...]


class Verifications:
    """Verifies and searches."""

    def __init__(
        self, detector: Detector, liveness: Liveness, embedder: Embedder, galleries: Galleries, executor: Executor
    ):
        self._detector = detector
        self._liveness = liveness
        self._embedder = embedder
        self._galleries = galleries
        self._executor = executor

    def verify(self, workspace: Workspace, upload_id: str, options: VerifyOptions) -> Verified:
        """Verifies the faces of an upload; the upload stays as it is.

        Raises:
            InvalidPersonId, NothingToDo, UploadUnknown, PhotoMissing, UploadEmpty, NoFace, LivenessUnavailable,
            DatabaseUnavailable, NotEnrolled, PersonFolderMissing.
        """
        person_id = check_person_id(split_upload_id(upload_id)[0], workspace.env.id_regex)
        if options.skip_verify and options.skip_search:
            raise NothingToDo("skip_verify and skip_db_search cannot both be set")
        upload = workspace.uploads.open(upload_id)
        photos = map_parallel(self._executor, lambda path: self._look(workspace, read_photo(path)), upload.photos)
        if not any(photo.faces for photo in photos):
            raise NoFace("no photo shows a face")
        probes = submit(self._executor, self._embed, workspace, photos)
        checks = [] if options.skip_liveness else self._start_liveness(photos)
        enrolled = None if options.skip_verify else attempt(self._enrolled, workspace, person_id)
        liveness = tuple(face for check in checks for face in check.result())
        if liveness and not any(face.verdict is Verdict.REAL for face in liveness):
            return Verified(Outcome.SPOOF, liveness=liveness)
        record = enrolled.result() if enrolled else None
        living = _living(probes.result(), liveness) if liveness else probes.result()
        answer = self._compare(workspace, record, living) if record else None
        if answer and answer.verified:
            found = Verified(Outcome.VERIFIED, display_name(record.name), answer.best.distance)
        elif options.skip_search:
            found = Verified(Outcome.FOUND_NONE)
        else:
            found = self._search(workspace, person_id, living)
        return replace(found, liveness=liveness, fusion=answer.fusion if answer else None)

    def _look(self, workspace: Workspace, image: bytes) -> _Photo:
        try:
            return _Photo(image, self._detector.look(image, workspace.crop_size))
        except InvalidImage:  # a file that was put there by hand
            return _Photo(image, Look((), image))

    def _embed(self, workspace: Workspace, photos: Sequence[_Photo]) -> list[_Probe]:
        faces = [(photo.image, number, face.crop) for photo in photos for number, face in enumerate(photo.faces)]
        templates = self._embedder.embed(workspace.env.selected_models, [crop for _, _, crop in faces])
        return [_Probe(image, number, made) for (image, number, _), made in zip(faces, templates, strict=True)]

    def _start_liveness(self, photos: Sequence[_Photo]) -> list[Future[list[FaceLiveness]]]:
        """Of each photo that shows faces."""
        return [submit(self._executor, self._check_liveness, photo.look) for photo in photos if photo.faces]

    def _check_liveness(self, look: Look) -> list[FaceLiveness]:
        return self._liveness.check(look.image, [face.box.scaled(1 / look.factor) for face in look.faces])

    def _enrolled(self, workspace: Workspace, person_id: str) -> PersonRecord:
        try:
            self._galleries.recover(workspace, person_id)
            record = workspace.records.find(person_id)
        except DatabaseRefused as err:
            raise NotEnrolled(str(err)) from err
        if record is None:
            raise NotEnrolled(f"{person_id!r} is not enrolled")
        if not workspace.images.has(workspace.images.folder_of(record.path)):
            raise PersonFolderMissing(f"the folder of {person_id!r} is gone")
        self._galleries.adopt_if_needed(workspace, record)
        return record

    def _compare(self, workspace: Workspace, record: PersonRecord, probes: Sequence[_Probe]) -> Verification:
        """The faces as photographed are compared first, augmented ones made of them only where those do not suffice."""
        env = workspace.env
        comparison, needed = Comparison(env.selected_models, env.sim_func), (env.ver_tol, env.ver_tol_aug)
        templates = [probe.templates for probe in probes]
        answer = self._embedder.verify(record.person_id, comparison, templates, (), needed)
        if not answer.verified and env.num_aug:
            augmented = self._augment(workspace, probes)
            answer = self._embedder.verify(record.person_id, comparison, templates, augmented, needed)
        return answer

    def _augment(self, workspace: Workspace, probes: Sequence[_Probe]) -> list[Crop]:
        """Changed versions of the probes; the detector finds the same faces in the same order as before."""
        images = list(dict.fromkeys(probe.image for probe in probes))
        prepare = partial(self._detector.augment, size=workspace.crop_size, augmentations=workspace.env.num_aug)
        faces = dict(zip(images, map_parallel(self._executor, prepare, images), strict=True))
        return [crop for probe in probes for crop in faces[probe.image][probe.number].augmented]

    def _search(self, workspace: Workspace, person_id: str, probes: Sequence[_Probe]) -> Verified:
        self._galleries.recover(workspace)
        found = self._found(workspace, probes)
        for record, match in found:
            if record.person_id == person_id:
                return Verified(Outcome.FOUND_SAME, display_name(record.name), match.distance)
        return Verified(Outcome.FOUND_OTHER if found else Outcome.FOUND_NONE)

    def _found(self, workspace: Workspace, probes: Sequence[_Probe]) -> list[tuple[PersonRecord, Match]]:
        """People found, best first. Those without templates get them first, those without a row are forgotten."""
        comparison = Comparison(workspace.env.selected_models, workspace.env.sim_func)
        while True:
            identified = self._embedder.identify(comparison, [probe.templates for probe in probes])
            adopted = self._galleries.adopt_all(workspace, identified.generation)
            found = [(workspace.records.find(match.person_id), match) for match in identified.matches]
            ghosts = [match.person_id for record, match in found if record is None]
            if not (ghosts or adopted) or seconds_left() < 1:
                return [(record, match) for record, match in found if record is not None]
            for ghost in ghosts:
                self._galleries.forget(workspace, ghost)


def _living(probes: Sequence[_Probe], liveness: Sequence[FaceLiveness]) -> list[_Probe]:
    """Only faces that were judged real: one that cannot be judged is not let through."""
    return [probe for probe, judged in zip(probes, liveness, strict=True) if judged.verdict is Verdict.REAL]
