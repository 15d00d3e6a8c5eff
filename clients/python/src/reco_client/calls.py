"""Requests, and how their answers are read: all that both clients share but the sending."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

import httpx

from . import answers
from .pictures import Picture, encoded
from .reading import read

T = TypeVar("T")

#: The name and bytes of a photo's file.
PhotoFile = tuple[str, bytes]


class ListOptions(TypedDict, total=False):
    """Filters, which go together; `page_size` is 1 to 200."""

    name_prefix: str
    label: str
    external_id: str
    created_after: datetime
    created_before: datetime
    page_size: int


class CreateOptions(TypedDict, total=False):
    """Of somebody new. Without a `person_id` one is made; `reject_similar`: not if they are enrolled under another ID."""

    person_id: str
    external_id: str
    labels: Sequence[str]
    reject_similar: bool


class Changes(TypedDict, total=False):
    """What is to be changed about a person; an empty value empties it."""

    display_name: str
    external_id: str
    labels: Sequence[str]


class DetectOptions(TypedDict, total=False):
    """Of detect."""

    check_liveness: bool
    largest_face_only: bool


class MatchOptions(TypedDict, total=False):
    """`threshold` (a distance) or `max_fmr` (1e-7 to 0.1) instead of the usual threshold, not both."""

    largest_face_only: bool
    threshold: float
    max_fmr: float


class IdentifyOptions(MatchOptions, total=False):
    """`top_k` people of each face, 1 to 100; only people with one of `labels`."""

    top_k: int
    labels: Sequence[str]


class VerifyOptions(MatchOptions, total=False):
    """Of verify."""

    skip_liveness: bool


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request.

    Attributes:
        path: escaped.
        parse: reads the answer's body.
        repeatable: whether it does no harm to send it again when nobody knows whether it arrived.
        query: parameters; `form`: fields of a form that `files` are sent in; `body`: what is sent as JSON instead.
    """

    method: str
    path: str
    parse: Callable[[bytes], T]
    repeatable: bool = True
    query: Mapping[str, str] | None = None
    form: Mapping[str, str | list[str]] | None = None
    files: Sequence[tuple[str, PhotoFile]] = ()
    body: Mapping[str, Any] | None = None

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """As httpx sends it."""
        parts = [(field, (name, data, "application/octet-stream")) for field, (name, data) in self.files]
        return client.build_request(
            self.method, self.path, params=self.query, data=self.form, files=parts or None, json=self.body
        )


def list_people(options: ListOptions, page_token: str = "") -> Call[answers.PeoplePage]:
    """A page of people."""
    query = _fields({**options, "page_token": page_token})
    return Call("GET", "/v1/people", _reader(answers.PeoplePage), query={k: str(v) for k, v in query.items()})


def get_person(person_id: str) -> Call[answers.Person]:
    """One person."""
    return Call("GET", _path("people", person_id), _reader(answers.Person))


def create_person(
    name: str, photos: Sequence[PhotoFile], request_id: str, options: CreateOptions
) -> Call[answers.Created]:
    """Enrolls somebody; may be sent again because it has a `request_id`."""
    fields: dict[str, Any] = {**options, "display_name": name, "request_id": request_id}
    fields["on_conflict"] = "REJECT" if fields.pop("reject_similar", False) else ""
    reader = _reader(answers.Created)
    return Call("POST", "/v1/people", reader, form=_fields(fields), files=_photos(photos))


def add_photos(person_id: str, photos: Sequence[PhotoFile], request_id: str) -> Call[answers.Added]:
    """Adds photos to a person."""
    form, path = _fields({"request_id": request_id}), _path("people", person_id, "photos")
    return Call("POST", path, _reader(answers.Added), form=form, files=_photos(photos))


def update_person(person_id: str, changes: Changes) -> Call[answers.Person]:
    """Changes what `changes` names; the same again changes nothing more."""
    body: dict[str, Any] = dict(changes)
    if "labels" in body:
        body["labels"] = list(body["labels"])
    if not body:
        raise ValueError("nothing to change")
    path, query = _path("people", person_id), {"update_mask": ",".join(body)}
    return Call("PATCH", path, _reader(answers.Person), query=query, body=body)


def delete_person(person_id: str) -> Call[answers.PersonErased]:
    """Erases somebody. Not repeated by itself: of the second time the answer would be that there was nobody."""
    return Call("DELETE", _path("people", person_id), _reader(answers.PersonErased), repeatable=False)


def list_conflicts(max_fmr: float, page_token: str = "") -> Call[answers.ConflictPage]:
    """A page of pairs of people who match."""
    query = _fields({"max_fmr": max_fmr or None, "page_token": page_token})
    path, reader = "/v1/people:conflicts", _reader(answers.ConflictPage)
    return Call("GET", path, reader, query={k: str(v) for k, v in query.items()})


def merge_person(person_id: str, other_person_id: str) -> Call[answers.Person]:
    """Makes one person of two. Not repeated by itself: the second time there would be no other."""
    path, body = _path("people", person_id) + ":merge", {"other_person_id": other_person_id}
    return Call("POST", path, _reader(answers.Person), repeatable=False, body=body)


def list_uploads(page_token: str = "") -> Call[answers.UploadPage]:
    """A page of uploads that wait."""
    query = {"page_size": "200", **({"page_token": page_token} if page_token else {})}
    return Call("GET", "/v1/uploads", _reader(answers.UploadPage), query=query)


def delete_upload(upload_id: str) -> Call[answers.UploadDeleted]:
    """Deletes one. Not repeated by itself: of the second time the answer would be that there was none."""
    return Call("DELETE", _path("uploads", upload_id), _reader(answers.UploadDeleted), repeatable=False)


def export_people(include_templates: bool, page_token: str = "") -> Call[answers.ExportPage]:
    """A page of people with all that is kept of them."""
    query = _fields({"include_templates": include_templates, "page_token": page_token})
    path, reader = "/v1/people:export", _reader(answers.ExportPage)
    return Call("GET", path, reader, query={k: str(v) for k, v in query.items()})


def import_people(people: Sequence[Mapping[str, Any]]) -> Call[answers.ImportReport]:
    """Enrolls a page of them; the same again enrolls nobody twice."""
    return Call("POST", "/v1/people:import", _reader(answers.ImportReport), body={"people": list(people)})


def list_operations() -> Call[answers.Operations]:
    """Long work."""
    return Call("GET", "/v1/operations", _reader(answers.Operations))


def get_operation(operation_id: str) -> Call[answers.Operation]:
    """One of them."""
    return Call("GET", _path("operations", operation_id), _reader(answers.Operation))


def start_rebuild() -> Call[answers.Operation]:
    """Begins one, or tells the one that runs."""
    return Call("POST", "/v1/operations:rebuild", _reader(answers.Operation), body={})


def cancel_operation(operation_id: str) -> Call[answers.Operation]:
    """Ends one; one that has ended stays as it is."""
    return Call("POST", _path("operations", operation_id) + ":cancel", _reader(answers.Operation), body={})


def list_keys() -> Call[answers.Keys]:
    """All keys."""
    return Call("GET", "/v1/keys", _reader(answers.Keys))


def create_key(name: str, role: str, lifetime: str) -> Call[answers.NewKey]:
    """Makes one. Not repeated by itself: the second time the name would be taken."""
    body = {"name": name, "role": role, "lifetime": lifetime}
    return Call("POST", "/v1/keys", _reader(answers.NewKey), repeatable=False, body=body)


def revoke_key(name: str) -> Call[answers.Key]:
    """Makes one worthless. Not repeated by itself: the second time it would be so already."""
    return Call("POST", _path("keys", name) + ":revoke", _reader(answers.Key), repeatable=False, body={})


def list_audit_entries(page_token: str = "") -> Call[answers.AuditPage]:
    """A page of the audit log."""
    query = {"page_size": "200", **({"page_token": page_token} if page_token else {})}
    return Call("GET", "/v1/audit", _reader(answers.AuditPage), query=query)


def list_photos(person_id: str) -> Call[answers.Photos]:
    """A person's photos."""
    return Call("GET", _path("people", person_id, "photos"), _reader(answers.Photos))


def get_photo(person_id: str, photo_id: str) -> Call[answers.Photo]:
    """One photo."""
    return Call("GET", _path("people", person_id, "photos", photo_id), _reader(answers.Photo))


def photo_image(person_id: str, photo_id: str) -> Call[bytes]:
    """A photo's picture, PNG."""
    return Call("GET", _path("people", person_id, "photos", photo_id) + ":image", bytes)


def delete_photo(person_id: str, photo_id: str, delete_person: bool) -> Call[answers.PhotoDeleted]:
    """Deletes a photo."""
    path, query = _path("people", person_id, "photos", photo_id), _fields({"delete_person": delete_person})
    return Call(
        "DELETE", path, _reader(answers.PhotoDeleted), repeatable=False, query={k: str(v) for k, v in query.items()}
    )


def detect(image: Picture, options: DetectOptions) -> Call[answers.Detected]:
    """The faces of a picture."""
    return _look("/v1/faces:detect", answers.Detected, {"image": image}, options)


def compare(image: Picture, other_image: Picture, options: MatchOptions) -> Call[answers.Compared]:
    """Every pair of two pictures' faces."""
    return _look("/v1/faces:compare", answers.Compared, {"image": image, "other_image": other_image}, options)


def identify(image: Picture, options: IdentifyOptions) -> Call[answers.Identified]:
    """Who the faces are."""
    return _look("/v1/faces:identify", answers.Identified, {"image": image}, options)


def verify(person_id: str, image: Picture, options: VerifyOptions) -> Call[answers.Verified]:
    """Whether it is that person."""
    return _look(_path("people", person_id) + ":verify", answers.Verified, {"image": image}, options)


def info() -> Call[answers.Info]:
    """What the installation is."""
    return Call("GET", "/v1/info", _reader(answers.Info))


def request_id_of(given: str) -> str:
    """One that was given, or a new one."""
    return given or uuid.uuid4().hex


def files_of(photos: Iterable[Picture]) -> list[PhotoFile]:
    """Photos as files, those without a name by their number."""
    return [encoded(photo, f"{number}") for number, photo in enumerate(photos)]


def _look(path: str, kind: type[T], images: Mapping[str, Picture], options: Mapping[str, Any]) -> Call[T]:
    files = [(field, encoded(image, field)) for field, image in images.items()]
    return Call("POST", path, _reader(kind), form=_fields(options), files=files)


def _reader(kind: type[T]) -> Callable[[bytes], T]:
    return lambda body: read(kind, body)


def _photos(photos: Iterable[PhotoFile]) -> list[tuple[str, PhotoFile]]:
    files = [("photos", photo) for photo in photos]
    if not files:
        raise ValueError("no photos")
    return files


def _path(*names: str) -> str:
    """/v1/… of names that somebody else may have chosen; none of them leads elsewhere."""
    for name in names:
        if name in ("", ".", ".."):
            raise ValueError(f"no ID: {name!r}")
    return "/".join(("/v1", *(quote(name, safe="") for name in names)))


def _fields(values: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Fields of a form or a query as text, without those that are empty."""
    found: dict[str, str | list[str]] = {}
    for name, value in values.items():
        if value is None or value is False or value == "":
            continue
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{name}: a time needs a time zone")
            found[name] = value.isoformat()
        elif isinstance(value, bool):
            found[name] = "true"
        elif isinstance(value, str | int | float):
            found[name] = str(value)
        else:
            found[name] = [str(one) for one in value]
    return found
