"""What is known of people beside their rows: names with capitals, labels, where photos came from. people.py keeps it.

The row of the table that `.env` names remains the truth about who there is: a profile counts while the row of its number is
that person's, and its display name while the row's name is the one that it was given for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from services.gateway.stages.types import PhotoQuality


class Source(Enum):
    """Where an enrolled photo came from."""

    UNKNOWN = 0
    UPLOAD = 1
    PEOPLE = 2


@dataclass(frozen=True)
class Profile:
    """A person.

    Attributes:
        record_id: of their row; 0 before that is written.
        stored_name: the row's name when this was written.
        labels: in order.
        created_at, updated_at: microseconds since 1970; 0 where it was not written down.
        request_id, request_digest: of the request that enrolled them, if it had one.
    """

    record_id: int
    person_id: str
    stored_name: str
    display_name: str
    external_id: str = ""
    labels: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    request_id: str = ""
    request_digest: str = ""


@dataclass(frozen=True)
class PhotoFacts:
    """What was written down of an enrolled photo.

    Attributes:
        name: its file name.
        created_at: microseconds since 1970.
        quality: of the photo that was sent; None where that was not written down.
        request_id: of the request that brought it, if it had one.
    """

    name: str
    source: Source = Source.UNKNOWN
    created_at: int = 0
    quality: PhotoQuality | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Details:
    """What is written together with a row: the profile, the facts of photos that come with it, and digests of photos.

    Attributes:
        digests: by name, see FacePhoto.digest.
    """

    profile: Profile
    photos: tuple[PhotoFacts, ...] = ()
    digests: Mapping[str, bytes] = field(default_factory=dict)


class Order(Enum):
    """What people are listed by; those alike by their rows' numbers. Values are columns."""

    ENROLLMENT = "record_id"
    NAME = "name_key"
    TIME = "created_at"


@dataclass(frozen=True)
class PeopleFilter:
    """Whom a list is of.

    Attributes:
        name_prefix: of the display name, in any case; empty for all, as are the others.
        created_from, created_before: microseconds since 1970; 0 for no bound.
    """

    name_prefix: str = ""
    label: str = ""
    external_id: str = ""
    created_from: int = 0
    created_before: int = 0

    @property
    def order(self) -> Order:
        """The one that an index gives."""
        if self.name_prefix:
            return Order.NAME
        return Order.TIME if self.created_from or self.created_before else Order.ENROLLMENT


#: A place in a list: what the last person shown is ordered by, and their row's number.
Position = tuple[str | int, int]


def name_key(name: str) -> str:
    """What names are ordered and found by: their letters whatever the case."""
    return " ".join(name.casefold().split())


def position_of(profile: Profile, order: Order) -> Position:
    """A person's place in a list."""
    keys: dict[Order, str | int] = {
        Order.ENROLLMENT: profile.record_id,
        Order.NAME: name_key(profile.display_name),
        Order.TIME: profile.created_at,
    }
    return keys[order], profile.record_id


class PeopleStore(Protocol):
    """Profiles and facts of photos. Every method raises DatabaseUnavailable or DatabaseRefused.

    RecordStore.commit and erase write and delete them in the transactions of the rows.
    """

    def find(self, record_id: int) -> Profile | None:
        """The profile of a row's number."""

    def between(self, after: int, last: int) -> list[Profile]:
        """Profiles of the rows' numbers above `after`, up to `last`; without their labels."""

    def page(self, wanted: PeopleFilter, after: Position | None, limit: int) -> list[Profile]:
        """The first people in the filter's order behind a place in it."""

    def by_request(self, request_id: str) -> Profile | None:
        """Whom a request has enrolled."""

    def photos(self, record_id: int) -> dict[str, PhotoFacts]:
        """What was written down of a person's photos, by file name."""

    def digests(self, record_id: int) -> dict[str, bytes]:
        """Of a person's photos, by file name, as they were when their templates were made; of some none may be known."""

    def note_digests(self, record_id: int, digests: Mapping[str, bytes]) -> None:
        """Sets them, in the place of all that were known."""

    def add(self, profiles: Sequence[Profile]) -> None:
        """Writes profiles without labels; those whose row's number has one already stay as they are."""

    def rename(self, profile: Profile) -> None:
        """Sets the display name, and the stored name that it goes with, of a profile that is there."""

    def forget(self, profiles: Sequence[Profile]) -> None:
        """Deletes these people's profiles, labels and facts of photos. Idempotent."""
