"""The client that waits for each answer."""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, Unpack

import httpx

from . import answers, calls
from .enrolling import Enrolled, Progress, Steps, enrollment
from .errors import RecoError
from .pictures import Picture
from .sending import Retries, Target, concluded

T = TypeVar("T")
PageT = TypeVar("PageT", bound=answers.Page)


class Client:
    """RECO over HTTP; a context manager. Several threads may use one at the same time.

    Every method raises RecoError, and ValueError for what cannot be asked.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: Retries | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ):
        """
        Args:
            url, key, timeout: see `Target`.
            retries: see `Retries`.
            verify: how the server's certificate is checked.
            transport: what sends instead of the network.
        """
        target = Target(url, key, timeout)
        self.url = str(target.address())
        self._retries = retries or Retries()
        self._http = httpx.Client(
            base_url=target.address(), headers=target.headers(), timeout=timeout, verify=verify, transport=transport
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def send(self, call: calls.Call[T]) -> T:
        """Sends a request, again where it may be, and reads the answer."""
        sent = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(call.request(self._http))
            except httpx.TransportError as err:
                outcome = err
            sent += 1
            pause = self._retries.wait(call, sent, outcome)
            if pause is None:
                return concluded(call, outcome)
            time.sleep(pause)

    def _pages(self, call: Callable[[str], calls.Call[PageT]]) -> Iterator[PageT]:
        """The pages of a list, as they are asked for; `call` takes a page's token."""
        token, is_first = "", True
        while token or is_first:
            page = self.send(call(token))
            yield page
            token, is_first = page.next_page_token, False

    def _run(self, steps: Steps) -> Enrolled:
        try:
            call = next(steps)
            while True:
                try:
                    answer = self.send(call)
                except RecoError as err:
                    call = steps.throw(err)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            enrolled: Enrolled = done.value
            return enrolled

    def list_people(self, **filters: Unpack[calls.ListOptions]) -> Iterator[answers.Person]:
        """Everybody who fits, page by page as they are asked for."""
        for page in self._pages(lambda token: calls.list_people(filters, token)):
            yield from page.people

    def get_person(self, person_id: str) -> answers.Person:
        """One person."""
        return self.send(calls.get_person(person_id))

    def create_person(
        self, name: str, photos: Sequence[Picture], request_id: str = "", **options: Unpack[calls.CreateOptions]
    ) -> answers.Created:
        """Enrolls somebody in one request, all at once or not at all; `enroll` takes more photos than it holds."""
        return self.send(calls.create_person(name, calls.files_of(photos), calls.request_id_of(request_id), options))

    def enroll(
        self,
        name: str,
        photos: Iterable[Picture],
        request_id: str = "",
        progress: Progress | None = None,
        **options: Unpack[calls.CreateOptions],
    ) -> Enrolled:
        """Enrolls somebody by any number of photos, in several requests where one does not hold them."""
        return self._run(enrollment(name, photos, options, request_id, progress))

    def add_photos(
        self, person_id: str, photos: Iterable[Picture], request_id: str = "", progress: Progress | None = None
    ) -> tuple[answers.PhotoReport, ...]:
        """Adds any number of photos; says of each what became of it."""
        return self._run(enrollment("", photos, {}, request_id, progress, answers.Person(person_id))).photos

    def update_person(self, person_id: str, **changes: Unpack[calls.Changes]) -> answers.Person:
        """Changes what is named, and nothing else."""
        return self.send(calls.update_person(person_id, changes))

    def delete_person(self, person_id: str) -> bool:
        """Erases somebody; False where there was nobody."""
        return self.send(calls.delete_person(person_id)).existed

    def list_conflicts(self, max_fmr: float = 0.0) -> Iterator[answers.ConflictingPeople]:
        """Pairs of people whose photos match, page by page: who may be enrolled twice."""
        for page in self._pages(lambda token: calls.list_conflicts(max_fmr, token)):
            yield from page.conflicts

    def merge_person(self, person_id: str, other_person_id: str) -> answers.Person:
        """Gives a person the other's photos and labels, and erases the other."""
        return self.send(calls.merge_person(person_id, other_person_id))

    def list_uploads(self) -> Iterator[answers.WaitingUpload]:
        """Uploads that wait to be enrolled or verified, page by page as they are asked for."""
        for page in self._pages(lambda token: calls.list_uploads(token)):
            yield from page.uploads

    def delete_upload(self, upload_id: str) -> bool:
        """Deletes an upload that waits; False where there is none."""
        return self.send(calls.delete_upload(upload_id)).existed

    def export_people(self, include_templates: bool = True) -> Iterator[tuple[dict[str, Any], ...]]:
        """Everybody with all that is kept of them, page by page, as JSON: for `import_people`, and `archive`."""
        for page in self._pages(lambda token: calls.export_people(include_templates, token)):
            yield page.people

    def import_people(self, people: Sequence[Mapping[str, Any]]) -> tuple[answers.ImportedPerson, ...]:
        """Enrolls a page of an export, nobody twice."""
        return self.send(calls.import_people(people)).people

    def list_operations(self) -> tuple[answers.Operation, ...]:
        """Long work that runs, and the latest that has ended."""
        return self.send(calls.list_operations()).operations

    def get_operation(self, operation_id: str) -> answers.Operation:
        """One of them."""
        return self.send(calls.get_operation(operation_id))

    def start_rebuild(self) -> answers.Operation:
        """Has all templates and search indexes made anew from the stored photos."""
        return self.send(calls.start_rebuild())

    def cancel_operation(self, operation_id: str) -> answers.Operation:
        """Ends an operation."""
        return self.send(calls.cancel_operation(operation_id))

    def list_keys(self) -> tuple[answers.Key, ...]:
        """Every key that was ever made."""
        return self.send(calls.list_keys()).keys

    def create_key(self, name: str, role: str, lifetime: str = "") -> answers.NewKey:
        """Makes a key (verify, enroll or admin), for ever or for a time such as `90d`."""
        return self.send(calls.create_key(name, role, lifetime))

    def revoke_key(self, name: str) -> answers.Key:
        """Makes a key worthless, for ever."""
        return self.send(calls.revoke_key(name))

    def list_audit_entries(self) -> Iterator[answers.AuditEntry]:
        """The audit log, the latest first, page by page as it is asked for."""
        for page in self._pages(lambda token: calls.list_audit_entries(token)):
            yield from page.entries

    def list_photos(self, person_id: str) -> tuple[answers.Photo, ...]:
        """The faces that a person is known by."""
        return self.send(calls.list_photos(person_id)).photos

    def get_photo(self, person_id: str, photo_id: str) -> answers.Photo:
        """One photo."""
        return self.send(calls.get_photo(person_id, photo_id))

    def photo_image(self, person_id: str, photo_id: str) -> bytes:
        """The picture itself, as it is kept: PNG."""
        return self.send(calls.photo_image(person_id, photo_id))

    def delete_photo(self, person_id: str, photo_id: str, delete_person: bool = False) -> bool:
        """Deletes a photo, the last one only with `delete_person`; True where the person went with it."""
        return self.send(calls.delete_photo(person_id, photo_id, delete_person)).person_deleted

    def detect(self, image: Picture, **options: Unpack[calls.DetectOptions]) -> answers.Detected:
        """Where faces are in a picture, and how good they are."""
        return self.send(calls.detect(image, options))

    def compare(self, image: Picture, other: Picture, **options: Unpack[calls.MatchOptions]) -> answers.Compared:
        """Whether two pictures show one person."""
        return self.send(calls.compare(image, other, options))

    def identify(self, image: Picture, **options: Unpack[calls.IdentifyOptions]) -> answers.Identified:
        """Who the faces of a picture are."""
        return self.send(calls.identify(image, options))

    def verify(self, person_id: str, image: Picture, **options: Unpack[calls.VerifyOptions]) -> answers.Verified:
        """Whether a picture shows that person."""
        return self.send(calls.verify(person_id, image, options))

    def info(self) -> answers.Info:
        """What the installation is and takes."""
        return self.send(calls.info())
