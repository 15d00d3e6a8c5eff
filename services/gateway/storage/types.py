"""What the pipeline knows of storage: records, photos, uploads, locks. The other modules of this folder keep them."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Protocol

from services.gateway.env import Env
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.profiles import Details, PeopleStore
from services.gateway.storage.work import ModelChoice, OperationStore

#: Locks that person IDs are spread over: a fixed number, so that no lock files are left behind.
STRIPES = 256

#: In a journal entry, where no upload is consumed: no folder has that name.
NO_UPLOAD = ".no-upload"


@dataclass(frozen=True)
class PersonRecord:
    """A row of the table of people.

    Attributes:
        record_id: the row's ID; 0 before it is written.
        person_id: the ID that clients use.
        name: words in lower case joined by `_`.
        path: the person's folder as it is stored.
    """

    record_id: int
    person_id: str
    name: str
    path: str

    @property
    def folder(self) -> str:
        """Name of the person's folder: the last part of `path`, whichever system wrote it."""
        return PureWindowsPath(self.path).name


@dataclass(frozen=True)
class JournalEntry:
    """What remains to be done once an enrollment's row, or the deletion of a person's row, is committed.

    Attributes:
        enrollment_id: `<lock stripe>-<unique>`, of an erasure too.
        person_id: whose.
        upload_id: the upload that is consumed, or NO_UPLOAD.
        folder: the person's folder.
        keep: file names that stay of the earlier photos.
        drop_folder, drop: the earlier folder (may be the same) and the file names to be deleted from it.
        erases: the folders of a person who is to be erased, whole; None where somebody was enrolled.
        committed_at: when that was committed, in seconds since 1970: later uploads stay.
    """

    enrollment_id: str
    person_id: str
    upload_id: str
    folder: str
    keep: tuple[str, ...] = ()
    drop_folder: str = ""
    drop: tuple[str, ...] = ()
    erases: tuple[str, ...] | None = None
    committed_at: float = math.inf


@dataclass(frozen=True)
class Erased:
    """Somebody's row that is deleted, and the journal entry of what remains to be deleted of them."""

    record: PersonRecord
    entry: JournalEntry


@dataclass(frozen=True)
class Commitment:
    """What RecordStore.commit takes."""

    record: PersonRecord
    entry: JournalEntry | None
    details: Details | None = None


@dataclass(frozen=True)
class FacePhoto:
    """A face's picture as it is stored.

    Attributes:
        name: file name, unique within the person.
        augmented: made from another picture rather than taken.
        png: the file without the landmarks.
        landmarks: five (x, y) in the order of services.common.faces.LANDMARK_NAMES, or None where unknown.
    """

    name: str
    augmented: bool
    png: bytes
    landmarks: tuple[tuple[float, float], ...] | None

    @property
    def digest(self) -> bytes:
        """Of the picture, 16 bytes: tells whether it is still the one that a template was made of."""
        return hashlib.blake2b(self.png, digest_size=16).digest()


@dataclass(frozen=True)
class Upload:
    """Photos of one person, waiting to be enrolled or verified.

    Attributes:
        upload_id: `<person_id>-<digits>`, the folder's name.
        person_id: whom the photos are said to show.
        token: the digits: unguessable.
        photos: the photos' file names.
        qualities: of photos by file name; not of all where an earlier version or somebody by hand has put them there.
    """

    upload_id: str
    person_id: str
    token: str
    photos: tuple[str, ...]
    qualities: Mapping[str, PhotoQuality] = field(default_factory=dict)


@dataclass(frozen=True)
class WaitingUpload:
    """An upload that waits to be enrolled or verified; `stored_at`: seconds since 1970."""

    upload_id: str
    person_id: str
    photos: int
    stored_at: float


def split_upload_id(upload_id: str) -> tuple[str, str]:
    """(`person_id`, `token`): the parts before and after the last dash; no person where there is none."""
    person_id, _, token = upload_id.rpartition("-")
    return person_id, token


def stripe_of(person_id: str) -> int:
    """Which lock covers a person, 0 to STRIPES - 1."""
    return int.from_bytes(hashlib.sha256(person_id.encode()).digest()[:4], "big") % STRIPES


class RecordStore(Protocol):
    """The table of people, and the journal. Every method raises DatabaseUnavailable or DatabaseRefused."""

    def find(self, person_id: str) -> PersonRecord | None:
        """The row of a person."""

    def after(self, record_id: int, limit: int) -> list[PersonRecord]:
        """Rows with a higher ID, in order."""

    def rows_of(self, record_ids: Sequence[int]) -> dict[int, PersonRecord]:
        """The rows of these numbers, by number."""

    def count(self) -> int:
        """How many rows there are."""

    def commit(self, record: PersonRecord, entry: JournalEntry | None, details: Details | None = None) -> PersonRecord:
        """The commit point: writes the row (inserted where record_id is 0), the journal and the details, or nothing.

        Args:
            entry: None where nothing remains to be done.
            details: what is to be known of the person from then on, facts of photos being added to those that are
                there, but for the entry's dropped ones; None leaves all as it is.
        """

    def commit_all(self, commitments: Sequence[Commitment]) -> None:
        """`commit` of several people: all, or nothing."""

    def erase(self, record: PersonRecord | None, entry: JournalEntry) -> None:
        """The commit point of an erasure: deletes the person's row, if any, and its details; journals what remains.

        The person's earlier entries go: an erasure deletes what they would have finished.
        """

    def merge(self, record: PersonRecord, entry: JournalEntry, details: Details, other: Erased) -> None:
        """The commit point of a merge: `commit` of a person's row, and `erase` of the other's, or nothing."""

    def journal(self, person_id: str | None = None) -> list[JournalEntry]:
        """Committed enrollments and erasures that are not finished yet: of one person, or all."""

    def delete_entries(self, enrollment_ids: Sequence[str]) -> None:
        """`delete_entry` of several."""

    def delete_entry(self, enrollment_id: str) -> None:
        """Deletes the journal entry of what is finished. Idempotent."""

    def use(self, person_ids: Sequence[str], day: int) -> None:
        """Notes that people were used on a day (since 1970); who is not there is left out, a later day that is noted
        stays."""

    def last_uses(self, person_ids: Sequence[str]) -> dict[str, int]:
        """The days that are noted, of those people who have one; it goes with the person's row."""

    def forget_uses(self) -> None:
        """Deletes all days."""

    def purge(self) -> None:
        """Overwrites what was deleted, wherever the database's files on this machine still hold it.

        Raises DatabaseUnavailable where somebody is reading there.
        """


class PhotoStore(Protocol):
    """The image database: photos of enrolled people, by the name of each person's folder."""

    def path_of(self, folder: str) -> str:
        """What a row says of a person's folder."""

    def has(self, folder: str) -> bool:
        """Whether a person's folder is there."""

    def names(self, folder: str) -> Mapping[str, bool]:
        """File names of a person's photos → whether augmented."""

    def read(self, folder: str) -> Iterator[FacePhoto]:
        """A person's photos."""

    def read_one(self, folder: str, name: str, augmented: bool) -> FacePhoto:
        """One of them; raises FileNotFoundError."""

    def stage(self, enrollment_id: str, folder: str, photos: Iterable[FacePhoto]) -> None:
        """Writes photos for a person's folder where nobody reads them yet; raises OSError."""

    def publish(self, enrollment_id: str, folder: str) -> None:
        """Moves staged photos into the person's folder. Idempotent."""

    def unstage(self, enrollment_id: str) -> list[str]:
        """Deletes what is staged of an enrollment; returns what could not be deleted. Idempotent."""

    def staged(self) -> list[str]:
        """IDs of the enrollments of which something is staged."""

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Deletes photos of a person by file name, and the folder where nothing else is left in it. Idempotent."""

    def erase(self, folder: str) -> list[str]:
        """Deletes a person's folder whole; returns what could not be deleted (paths below DB_PATH). Idempotent."""

    def folders_ending(self, suffix: str) -> list[str]:
        """Names of people's folders that end so."""

    def remove_abandoned(self) -> None:
        """Deletes what backups have left whose process died."""

    def cache_files(self) -> list[str]:
        """File names of the pickles that the original has left."""

    def delete_cache(self, name: str) -> bool:
        """Deletes one of them; False where it was gone already."""


class UploadStore(Protocol):
    """Uploaded photos."""

    def create(
        self, person_id: str, photos: Sequence[tuple[str, bytes]], qualities: Sequence[PhotoQuality] = ()
    ) -> Upload:
        """Stores photos of a person whose ID was checked, all or none.

        Args:
            photos: the extension (`.jpg`) and the bytes of each.
            qualities: of each, where they are known.

        Raises:
            StorageRefused: they cannot be written.
            StorageFull: there is no room for them.
        """

    def open(self, upload_id: str) -> Upload:
        """An upload that has not been enrolled yet.

        Raises:
            UploadUnknown: there is none, or it was used already.
            PhotoMissing: a photo is gone.
            UploadEmpty: there is no photo in it.
        """

    def read(self, upload: Upload, photo: str) -> bytes:
        """The bytes of a photo.

        Raises:
            PhotoMissing: it has gone since the upload was opened.
            UploadUnknown: the upload has.
        """

    def list_waiting(self, after: str, limit: int) -> list[WaitingUpload]:
        """Those that were not enrolled yet, in the order of their IDs behind one of them."""

    def discard(self, upload_id: str) -> bool:
        """Deletes one that was not enrolled yet; False where there is none."""

    def consume(self, upload_id: str) -> None:
        """Marks an upload as enrolled. Idempotent."""

    def erase(self, person_id: str, before: float = math.inf) -> list[str]:
        """Deletes all uploads of a person, enrolled or not, and those that dead processes have left half written.

        Args:
            before: those stored later stay, seconds since 1970.

        Returns:
            What could not be deleted (paths below UPLOAD_FOLDER).
        """

    def remove_unfinished(self) -> None:
        """Deletes uploads whose process died while it wrote them."""

    def remove_expired(self) -> None:
        """Deletes uploads that were stored longer ago than uploads are kept, enrolled or not."""


class PersonLocks(Protocol):
    """One enrollment of a person at a time, over all gateways that share the database."""

    def hold(self, *person_ids: str) -> AbstractContextManager[None]:
        """Holds the locks of people; not reentrant.

        Raises:
            Busy: another holder did not let go before the present request's deadline.
            StorageRefused, DatabaseUnavailable: a lock cannot be made.
        """

    def hold_stripes(self, *stripes: int) -> AbstractContextManager[None]:
        """The same of all people of these stripes, see `stripe_of`."""

    def check(self) -> None:
        """To be called, by who holds a lock, before each step that follows the commit.

        Raises:
            DatabaseUnavailable: the lock was lost, somebody else may hold it.
        """

    def lost(self) -> set[str]:
        """People whose locks were lost while they were held, since the last call: two may have worked on them at once."""


@dataclass(frozen=True)
class Workspace:
    """The settings in force for one request, and the storage that they name."""

    env: Env
    records: RecordStore
    photos: PhotoStore
    uploads: UploadStore
    locks: PersonLocks
    people: PeopleStore
    operations: OperationStore

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of stored faces, pixels."""
        return self.env.target_width, self.env.target_height

    @property
    def models(self) -> ModelChoice:
        """Which models answer, and which are wanted."""
        return self.operations.models()

    def lock(self, *person_ids: str) -> AbstractContextManager[None]:
        """Holds the locks of people, see PersonLocks.hold."""
        return self.locks.hold(*person_ids)


class Workspaces(Protocol):
    """Opens the workspace of the settings as they are now."""

    def open(self) -> Workspace:
        """Raises EnvInvalid."""
