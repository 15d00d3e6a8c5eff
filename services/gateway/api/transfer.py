"""The typed API's transfer of people, reco.gateway.v1.TransferService: proto to domain and back."""

from collections.abc import Sequence

import grpc
import numpy as np
from reco.gateway.v1 import transfer_pb2 as pb
from reco.gateway.v1 import transfer_pb2_grpc
from reco.types.v1 import face_pb2

from services.common.faces import LANDMARK_NAMES
from services.gateway.api.page_tokens import ExportFilter, read_token, write_token
from services.gateway.api.people import from_facts, from_profile, to_facts, to_moment
from services.gateway.errors import InvalidField
from services.gateway.pipeline.directory import PNG
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.pipeline.transfer.importing import Imported, ImportOutcome
from services.gateway.pipeline.transfer.kept import KeptPerson, KeptPhoto
from services.gateway.stages.types import FaceTemplate
from services.gateway.storage.profiles import Profile
from services.gateway.storage.types import FacePhoto, Workspaces

#: Of a request.
MAX_PEOPLE = 1000

VECTOR = np.dtype("<f4")

OUTCOMES = {
    ImportOutcome.IMPORTED: pb.ImportedPerson.OUTCOME_IMPORTED,
    ImportOutcome.ADDED: pb.ImportedPerson.OUTCOME_ADDED,
    ImportOutcome.UNCHANGED: pb.ImportedPerson.OUTCOME_UNCHANGED,
    ImportOutcome.REFUSED: pb.ImportedPerson.OUTCOME_REFUSED,
}


class TransferServicer(transfer_pb2_grpc.TransferServiceServicer):
    """People with all that is kept of them, typed."""

    def __init__(self, workspaces: Workspaces, pipeline: Pipeline):
        self._workspaces = workspaces
        self._pipeline = pipeline

    def ExportPeople(self, request: pb.ExportPeopleRequest, context: grpc.ServicerContext) -> pb.ExportPeopleResponse:
        after = read_token("page_token", request.page_token, ExportFilter())
        place = (str(after[0]), after[1]) if after else None
        page = self._pipeline.exporter.read(self._workspaces.open(), place, request.include_templates)
        token = write_token(page.after, ExportFilter()) if page.after else ""
        return pb.ExportPeopleResponse(people=map(_from_person, page.people), next_page_token=token)

    def ImportPeople(self, request: pb.ImportPeopleRequest, context: grpc.ServicerContext) -> pb.ImportPeopleResponse:
        if not 1 <= len(request.people) <= MAX_PEOPLE:
            raise InvalidField("people", f"1 to {MAX_PEOPLE} are taken at once")
        people = [_to_person(f"people[{number}]", one) for number, one in enumerate(request.people)]
        done = self._pipeline.importer.write(self._workspaces.open(), people)
        return pb.ImportPeopleResponse(people=map(_from_imported, done))


def _from_person(person: KeptPerson) -> pb.ExportedPerson:
    return pb.ExportedPerson(person=from_profile(person.profile), photos=map(_from_photo, person.photos))


def _from_photo(kept: KeptPhoto) -> pb.ExportedPhoto:
    photo = kept.photo
    return pb.ExportedPhoto(
        photo_id=photo.name.removesuffix(PNG),
        augmented=photo.augmented,
        image=photo.png,
        landmarks=_from_points(photo.landmarks) if photo.landmarks else None,
        facts=from_facts(kept.facts) if kept.facts else None,
        templates=[
            pb.ExportedTemplate(
                model=one.model, model_version=one.version, float32=np.array(one.vector, VECTOR).tobytes()
            )
            for one in kept.templates
        ],
    )


def _from_points(points: Sequence[tuple[float, float]]) -> face_pb2.Landmarks:
    named = {name: face_pb2.Point(x=x, y=y) for name, (x, y) in zip(LANDMARK_NAMES, points, strict=True)}
    return face_pb2.Landmarks(**named)


def _to_person(field: str, proto: pb.ExportedPerson) -> KeptPerson:
    person = proto.person
    profile = Profile(
        record_id=0,
        person_id=person.person_id,
        stored_name="",
        display_name=" ".join(person.display_name.split()),
        external_id=person.external_id.strip(),
        labels=tuple(person.labels),
        created_at=to_moment(f"{field}.person.create_time", person.create_time),
    )
    return KeptPerson(profile, tuple(_to_photo(f"{field}.photos", one) for one in proto.photos))


def _to_photo(field: str, proto: pb.ExportedPhoto) -> KeptPhoto:
    landmarks = proto.landmarks if proto.HasField("landmarks") else None
    points = [getattr(landmarks, name) for name in LANDMARK_NAMES] if landmarks else []
    photo = FacePhoto(
        name=f"{proto.photo_id}{PNG}",
        augmented=proto.augmented,
        png=proto.image,
        landmarks=tuple((point.x, point.y) for point in points) or None,
    )
    facts = None if proto.augmented else to_facts(field, proto.facts)
    return KeptPhoto(photo, facts, tuple(_to_template(field, one) for one in proto.templates))


def _to_template(field: str, proto: pb.ExportedTemplate) -> FaceTemplate:
    if not proto.float32 or len(proto.float32) % VECTOR.itemsize:
        raise InvalidField(f"{field}.templates.float32", "float32 numbers are wanted")
    return FaceTemplate(proto.model, proto.model_version, tuple(np.frombuffer(proto.float32, VECTOR).tolist()))


def _from_imported(imported: Imported) -> pb.ImportedPerson:
    return pb.ImportedPerson(person_id=imported.person_id, outcome=OUTCOMES[imported.outcome], problem=imported.problem)
