"""The typed API's people, reco.gateway.v1.PeopleService: proto to domain and back, one call per RPC."""

from collections.abc import Iterable

import grpc
from google.api import httpbody_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from reco.gateway.v1 import people_pb2 as pb
from reco.gateway.v1 import people_pb2_grpc
from reco.types.v1 import results_pb2

from services.gateway.api.page_tokens import read_token, write_token
from services.gateway.api.problems import check_fmr, check_mask, check_number
from services.gateway.errors import InvalidField
from services.gateway.pipeline.directory import PNG
from services.gateway.pipeline.duplicates import Conflict, ConflictFilter
from services.gateway.pipeline.examine import PhotoReport, Usability
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.pipeline.profile import (
    check_display_name,
    check_external_id,
    check_labels,
    check_request_id,
)
from services.gateway.pipeline.registrar import Change, NewPerson
from services.gateway.pipeline.similar import Similar
from services.gateway.pipeline.upload import NamedPhoto
from services.gateway.stages.types import Limit, PhotoQuality
from services.gateway.storage.profiles import PeopleFilter, PhotoFacts, Profile, Source
from services.gateway.storage.types import Workspaces

PAGE_SIZE, MAX_PAGE_SIZE = 50, 200

#: Characters of a value that people are filtered by.
MAX_FILTER = 255

#: The end of the year 9999, in microseconds since 1970: no later moment can be written in JSON.
LAST_MOMENT = 253_402_300_799_999_999

COMPONENTS = results_pb2.Quality.Components.DESCRIPTOR.fields

CHANGEABLE = ("display_name", "external_id", "labels")

OUTCOMES = {
    Usability.ENROLLED: pb.PhotoReport.OUTCOME_ENROLLED,
    Usability.LOW_QUALITY: pb.PhotoReport.OUTCOME_LOW_QUALITY,
    Usability.UNDECODABLE: pb.PhotoReport.OUTCOME_UNDECODABLE,
    Usability.NO_FACE: pb.PhotoReport.OUTCOME_NO_FACE,
    Usability.SEVERAL_FACES: pb.PhotoReport.OUTCOME_SEVERAL_FACES,
}
SOURCES = {
    Source.UNKNOWN: pb.EnrolledPhoto.SOURCE_UNSPECIFIED,
    Source.UPLOAD: pb.EnrolledPhoto.SOURCE_UPLOAD,
    Source.PEOPLE: pb.EnrolledPhoto.SOURCE_PEOPLE,
}


class PeopleServicer(people_pb2_grpc.PeopleServiceServicer):
    """People and their photos, typed."""

    def __init__(self, workspaces: Workspaces, pipeline: Pipeline):
        self._workspaces = workspaces
        self._pipeline = pipeline

    def ListPeople(self, request: pb.ListPeopleRequest, context: grpc.ServicerContext) -> pb.ListPeopleResponse:
        size = check_number("page_size", request.page_size, MAX_PAGE_SIZE, PAGE_SIZE)
        wanted = _filter(request)
        after = read_token("page_token", request.page_token, wanted)
        listing = self._pipeline.directory.page(self._workspaces.open(), wanted, after, size)
        token = write_token(listing.after, wanted) if listing.after else ""
        return pb.ListPeopleResponse(people=map(from_profile, listing.people), next_page_token=token)

    def GetPerson(self, request: pb.GetPersonRequest, context: grpc.ServicerContext) -> pb.Person:
        return from_profile(self._pipeline.directory.get(self._workspaces.open(), request.person_id))

    def CreatePerson(self, request: pb.CreatePersonRequest, context: grpc.ServicerContext) -> pb.CreatePersonResponse:
        if request.on_conflict not in ("", "REJECT"):
            raise InvalidField("on_conflict", "REJECT is taken, or nothing")
        new = NewPerson(
            person_id=request.person_id,
            display_name=check_display_name("display_name", request.display_name),
            external_id=check_external_id("external_id", request.external_id),
            labels=check_labels("labels", request.labels),
            request_id=check_request_id("request_id", request.request_id),
            reject_similar=bool(request.on_conflict),
        )
        created = self._pipeline.registrar.create(self._workspaces.open(), new, _photos(request.photos))
        return pb.CreatePersonResponse(
            person=from_profile(created.person),
            photos=map(_report, created.photos),
            similar_people=map(_similar, created.similar),
        )

    def UpdatePerson(self, request: pb.UpdatePersonRequest, context: grpc.ServicerContext) -> pb.Person:
        person = request.person
        mask = check_mask("update_mask", request.update_mask.paths, CHANGEABLE, person)
        change = Change(
            display_name=check_display_name("person.display_name", person.display_name)
            if "display_name" in mask
            else None,
            external_id=check_external_id("person.external_id", person.external_id) if "external_id" in mask else None,
            labels=check_labels("person.labels", person.labels) if "labels" in mask else None,
        )
        return from_profile(self._pipeline.registrar.update(self._workspaces.open(), person.person_id, change))

    def ListPhotos(self, request: pb.ListPhotosRequest, context: grpc.ServicerContext) -> pb.ListPhotosResponse:
        photos = self._pipeline.directory.photos(self._workspaces.open(), request.person_id)
        return pb.ListPhotosResponse(photos=map(from_facts, photos))

    def GetPhoto(self, request: pb.GetPhotoRequest, context: grpc.ServicerContext) -> pb.EnrolledPhoto:
        return from_facts(self._pipeline.directory.photo(self._workspaces.open(), request.person_id, request.photo_id))

    def GetPhotoImage(self, request: pb.GetPhotoImageRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        png = self._pipeline.directory.image(self._workspaces.open(), request.person_id, request.photo_id)
        return httpbody_pb2.HttpBody(content_type="image/png", data=png)

    def AddPhotos(self, request: pb.AddPhotosRequest, context: grpc.ServicerContext) -> pb.AddPhotosResponse:
        request_id = check_request_id("request_id", request.request_id)
        photos, workspace = _photos(request.photos), self._workspaces.open()
        reports = self._pipeline.registrar.add(workspace, request.person_id, photos, request_id)
        return pb.AddPhotosResponse(photos=map(_report, reports))

    def DeletePhoto(self, request: pb.DeletePhotoRequest, context: grpc.ServicerContext) -> pb.DeletePhotoResponse:
        workspace = self._workspaces.open()
        erased = self._pipeline.registrar.delete_photo(
            workspace, request.person_id, request.photo_id, request.delete_person
        )
        return pb.DeletePhotoResponse(person_deleted=erased)

    def ListConflicts(
        self, request: pb.ListConflictsRequest, context: grpc.ServicerContext
    ) -> pb.ListConflictsResponse:
        size = check_number("page_size", request.page_size, MAX_PAGE_SIZE, PAGE_SIZE)
        wanted = ConflictFilter(Limit(max_fmr=check_fmr("max_fmr", request.max_fmr)))
        after = read_token("page_token", request.page_token, wanted)
        page = self._pipeline.duplicates.page(self._workspaces.open(), wanted, after, size)
        token = write_token(page.after, wanted) if page.after else ""
        return pb.ListConflictsResponse(conflicts=map(_conflict, page.pairs), next_page_token=token)

    def MergePerson(self, request: pb.MergePersonRequest, context: grpc.ServicerContext) -> pb.Person:
        workspace = self._workspaces.open()
        return from_profile(self._pipeline.duplicates.merge(workspace, request.person_id, request.other_person_id))


def _filter(request: pb.ListPeopleRequest) -> PeopleFilter:
    for field in ("name_prefix", "label", "external_id"):
        if len(getattr(request, field)) > MAX_FILTER:
            raise InvalidField(field, f"at most {MAX_FILTER} characters are taken")
    return PeopleFilter(
        name_prefix=" ".join(request.name_prefix.split()),
        label=request.label.strip(),
        external_id=request.external_id.strip(),
        created_from=to_moment("created_after", request.created_after),
        created_before=to_moment("created_before", request.created_before),
    )


def to_moment(field: str, time: Timestamp) -> int:
    """Microseconds since 1970; 0 where it is not given. Raises InvalidField."""
    moment = time.seconds * 1_000_000 + time.nanos // 1000
    if not 0 <= moment <= LAST_MOMENT:
        raise InvalidField(field, "a time from 1970 to 9999 is wanted")
    return moment


def from_moment(moment: int) -> Timestamp | None:
    """Microseconds since 1970; None for 0, where it is not known."""
    return Timestamp(seconds=moment // 1_000_000, nanos=moment % 1_000_000 * 1000) if moment else None


def _photos(files: Iterable[pb.PhotoFile]) -> list[NamedPhoto]:
    return [NamedPhoto(file.name, file.image) for file in files]


def from_profile(profile: Profile) -> pb.Person:
    """A person as a message."""
    return pb.Person(
        person_id=profile.person_id,
        display_name=profile.display_name,
        external_id=profile.external_id,
        labels=profile.labels,
        create_time=from_moment(profile.created_at),
        update_time=from_moment(profile.updated_at),
    )


def _similar(similar: Similar) -> pb.SimilarPerson:
    return pb.SimilarPerson(person=from_profile(similar.person), distance=similar.distance, threshold=similar.threshold)


def _conflict(conflict: Conflict) -> pb.Conflict:
    match = conflict.match
    return pb.Conflict(
        person=from_profile(conflict.person),
        other=from_profile(conflict.other),
        distance=match.distance,
        threshold=match.threshold,
        similarity=match.similarity,
        fmr=match.fmr or 0.0,
        model=match.model,
    )


def _report(report: PhotoReport) -> pb.PhotoReport:
    return pb.PhotoReport(
        name=report.name,
        outcome=OUTCOMES[report.outcome],
        photo=from_facts(report.facts) if report.facts else None,
        quality=from_quality(report.quality),
    )


def from_facts(facts: PhotoFacts) -> pb.EnrolledPhoto:
    """What is known of a photo as a message."""
    return pb.EnrolledPhoto(
        photo_id=facts.name.removesuffix(PNG),
        quality=from_quality(facts.quality),
        source=SOURCES[facts.source],
        create_time=from_moment(facts.created_at),
    )


def to_facts(field: str, proto: pb.EnrolledPhoto) -> PhotoFacts:
    """What a message says of a photo, but for its name. Raises InvalidField."""
    sources = {value: source for source, value in SOURCES.items()}
    quality = None
    if proto.HasField("quality"):
        components = {one.name: getattr(proto.quality.components, one.name) for one in COMPONENTS}
        quality = PhotoQuality(proto.quality.score, components)
    source = sources.get(proto.source, Source.UNKNOWN)
    return PhotoFacts("", source, to_moment(f"{field}.create_time", proto.create_time), quality)


def from_quality(quality: PhotoQuality | None) -> results_pb2.Quality | None:
    """A photo's quality as a message, if it is known."""
    if quality is None:
        return None
    return results_pb2.Quality(score=quality.score, components=results_pb2.Quality.Components(**quality.components))
