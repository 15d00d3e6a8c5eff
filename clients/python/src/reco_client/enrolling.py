"""Enrollment of a person whose photos may be more than one request holds."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import calls
from .answers import Person, PhotoReport, SimilarPerson
from .errors import InvalidRequest
from .pictures import Picture, encoded

#: Called after each request, with the number of photos that have been sent so far.
Progress = Callable[[int], None]

MAX_PHOTOS = 200
#: Of the photos of a request, in bytes: 8 MiB less room for names and the rest of the form.
MAX_BYTES = (8 << 20) - (128 << 10)


@dataclass(frozen=True)
class Enrolled:
    """Who was enrolled, and what became of each photo, in their order."""

    person: Person
    photos: tuple[PhotoReport, ...] = ()
    similar_people: tuple[SimilarPerson, ...] = ()


#: Calls one after another, each sent its answer or thrown what went wrong.
Steps = Generator[calls.Call[Any], Any, Enrolled]


def enrollment(
    name: str,
    photos: Iterable[Picture],
    options: calls.CreateOptions,
    request_id: str = "",
    progress: Progress | None = None,
    person: Person | None = None,
) -> Steps:
    """Creates the person with the first photos that do and adds the others; adds all to `person` where that is given.

    Raises:
        InvalidRequest: reason NO_USABLE_PHOTO: nobody was created, for no photo does; `fields` says why of each,
            `photos[0]` being the first.
    """
    request_id, sent, found = calls.request_id_of(request_id), 0, _Found(person)
    for number, batch in enumerate(_batches(photos)):
        part = f"{request_id}-{number}"
        try:
            if found.person is None:
                created = yield calls.create_person(name, batch, part, options)
                found.person, found.similar = created.person, created.similar_people
                found.reports += created.photos
            else:
                added = yield calls.add_photos(found.person.person_id, batch, part)
                found.reports += added.photos
        except InvalidRequest as err:
            found.refused(err, sent, batch)
        sent += len(batch)
        if progress:
            progress(sent)
    return found.whole()


class _Found:
    """What has become of somebody so far."""

    def __init__(self, person: Person | None = None):
        self.person = person
        self.reports: list[PhotoReport] = []
        self.similar: tuple[SimilarPerson, ...] = ()
        self._fields: dict[str, str] = {}

    def refused(self, err: InvalidRequest, sent: int, batch: list[calls.PhotoFile]) -> None:
        """A request none of whose photos does; raises anything else again."""
        if err.reason != "NO_USABLE_PHOTO":
            raise err
        for index, (name, _) in enumerate(batch):
            said = err.fields.get(f"photos[{index}]", "")
            self._fields[f"photos[{sent + index}]"] = said
            self.reports.append(PhotoReport(name, "OUTCOME_UNSPECIFIED", problem=said))

    def whole(self) -> Enrolled:
        """All of it; raises InvalidRequest where there is nobody."""
        if self.person is None:
            raise InvalidRequest("no photo can be enrolled", "NO_USABLE_PHOTO", self._fields, 400)
        return Enrolled(self.person, tuple(self.reports), self.similar)


def _batches(photos: Iterable[Picture]) -> Iterator[list[calls.PhotoFile]]:
    """Photos in requests' worth; each is read when its turn comes."""
    batch: list[calls.PhotoFile] = []
    size, none = 0, True
    for number, photo in enumerate(photos):
        name, data = encoded(photo, f"{number}")
        none = False
        if batch and (len(batch) == MAX_PHOTOS or size + len(data) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((name, data))
        size += len(data)
    if none:
        raise ValueError("no photos")
    yield batch
