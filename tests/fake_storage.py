"""The gateway's storage in memory: records, photos, uploads and locks, for tests of its pipeline."""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.common.call import seconds_left
from services.common.env import EnvInvalid
from services.common.errors import DatabaseUnavailable
from services.gateway.env import Env
from services.gateway.errors import Busy, PhotoMissing, UploadEmpty, UploadUnknown
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.profiles import Details
from services.gateway.storage.types import (
    STRIPES,
    Commitment,
    Erased,
    FacePhoto,
    JournalEntry,
    PersonRecord,
    Upload,
    WaitingUpload,
    Workspace,
    split_upload_id,
    stripe_of,
)
from tests.fake_people import FakePeople
from tests.fakes import Steps

ENV = Env(
    model_path=Path("models"),
    model_url="https://example.org",
    model_name="MiniFASNet",
    sql_uri="sqlite://",
    sql_user="",
    sql_pass="",
    sql_schema="",
    sql_table="reco_table",
    id_col="reco_id",
    path_col="reco_path",
    name_col="reco_name",
    db_path=Path("db"),
    target_width=224,
    target_height=224,
    selected_models=("Dlib",),
    id_regex=r"RECO_ID_\d+",
    num_aug=2,
    sim_func="cosine",
    log_loc=Path("log"),
    ver_tol=2,
    ver_tol_aug=2,
    super_password="",
    score_tol=7.0,
    upload_folder=Path("uploads"),
)


class FakeRecords:
    """Rows by ID, and journal entries by enrollment ID."""

    def __init__(self, steps: Steps, people: FakePeople | None = None):
        """`people`: gets the details."""
        self.rows: dict[int, PersonRecord] = {}
        self.entries: dict[str, JournalEntry] = {}
        self._people = people or FakePeople()
        self.uses: dict[str, int] = {}
        self._steps = steps
        self._last_id = 0
        self.purged = False

    def find(self, person_id: str) -> PersonRecord | None:
        self._steps.reach("records.find")
        return next((row for row in self.rows.values() if row.person_id == person_id), None)

    def after(self, record_id: int, limit: int) -> list[PersonRecord]:
        self._steps.reach("records.after")
        return [row for number, row in sorted(self.rows.items()) if number > record_id][:limit]

    def rows_of(self, record_ids: Sequence[int]) -> dict[int, PersonRecord]:
        return {number: self.rows[number] for number in record_ids if number in self.rows}

    def count(self) -> int:
        return len(self.rows)

    def commit(self, record: PersonRecord, entry: JournalEntry | None, details: Details | None = None) -> PersonRecord:
        self._steps.reach("records.commit")
        if not record.record_id:
            self._last_id += 1
            record = replace(record, record_id=self._last_id)
        self.rows[record.record_id] = record
        if details:
            self._people.write(record.record_id, details, entry.drop if entry else ())
        if entry:
            self.entries[entry.enrollment_id] = entry
        return record

    def commit_all(self, commitments: Sequence[Commitment]) -> None:
        self._steps.reach("records.commit_all")
        for one in commitments:
            self.commit(one.record, one.entry, one.details)

    def erase(self, record: PersonRecord | None, entry: JournalEntry) -> None:
        self._steps.reach("records.erase")
        if record:
            self.rows.pop(record.record_id, None)
            self._people.drop(record.record_id)
        self.entries = {key: one for key, one in self.entries.items() if one.person_id != entry.person_id}
        self.entries[entry.enrollment_id] = entry
        self.uses.pop(entry.person_id, None)

    def merge(self, record: PersonRecord, entry: JournalEntry, details: Details, other: Erased) -> None:
        self._steps.reach("records.merge")
        self.commit(record, entry, details)
        self.erase(other.record, other.entry)

    def use(self, person_ids: Sequence[str], day: int) -> None:
        self._steps.reach("records.use")
        there = {row.person_id for row in self.rows.values()} & set(person_ids)
        self.uses |= {person_id: max(day, self.uses.get(person_id, day)) for person_id in there}

    def last_uses(self, person_ids: Sequence[str]) -> dict[str, int]:
        return {person_id: self.uses[person_id] for person_id in person_ids if person_id in self.uses}

    def forget_uses(self) -> None:
        self.uses.clear()

    def purge(self) -> None:
        self._steps.reach("records.purge")
        self.purged = not self.entries

    def journal(self, person_id: str | None = None) -> list[JournalEntry]:
        self._steps.reach("records.journal")
        return [entry for entry in self.entries.values() if person_id in (None, entry.person_id)]

    def delete_entry(self, enrollment_id: str) -> None:
        self._steps.reach("records.delete_entry")
        self.entries.pop(enrollment_id, None)

    def delete_entries(self, enrollment_ids: Sequence[str]) -> None:
        for enrollment_id in enrollment_ids:
            self.delete_entry(enrollment_id)


class FakePhotos:
    """Photos by folder and name; caches are pickles of the original."""

    def __init__(self, steps: Steps):
        self.folders: dict[str, dict[str, FacePhoto]] = {}
        self.staging: dict[str, tuple[FacePhoto, ...]] = {}
        self.caches: set[str] = set()
        self._steps = steps

    def path_of(self, folder: str) -> str:
        return f"/db/{folder}"

    def has(self, folder: str) -> bool:
        return folder in self.folders

    def names(self, folder: str) -> Mapping[str, bool]:
        return {name: photo.augmented for name, photo in self.folders.get(folder, {}).items()}

    def read(self, folder: str) -> Iterator[FacePhoto]:
        self._steps.reach("photos.read")
        yield from list(self.folders[folder].values())

    def read_one(self, folder: str, name: str, augmented: bool) -> FacePhoto:
        self._steps.reach("photos.read_one")
        try:
            return self.folders[folder][name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def stage(self, enrollment_id: str, folder: str, photos: Iterable[FacePhoto]) -> None:
        self.staging[enrollment_id] = ()
        self._steps.reach("photos.stage")
        self.staging[enrollment_id] = tuple(photos)

    def publish(self, enrollment_id: str, folder: str) -> None:
        self._steps.reach("photos.publish")
        self.folders.setdefault(folder, {}).update({one.name: one for one in self.staging.get(enrollment_id, ())})
        self.unstage(enrollment_id)

    def unstage(self, enrollment_id: str) -> list[str]:
        self.staging.pop(enrollment_id, None)
        return []

    def staged(self) -> list[str]:
        return sorted(self.staging)

    def remove(self, folder: str, names: Iterable[str]) -> None:
        self._steps.reach("photos.remove")
        left = {name: photo for name, photo in self.folders.pop(folder, {}).items() if name not in set(names)}
        if left:
            self.folders[folder] = left

    def erase(self, folder: str) -> list[str]:
        self._steps.reach("photos.erase")
        self.folders.pop(folder, None)
        return []

    def folders_ending(self, suffix: str) -> list[str]:
        return [folder for folder in self.folders if folder.endswith(suffix)]

    def remove_abandoned(self) -> None:
        """Nothing is left."""

    def cache_files(self) -> list[str]:
        return sorted(self.caches)

    def delete_cache(self, name: str) -> bool:
        self._steps.reach("photos.delete_cache")
        present = name in self.caches
        self.caches.discard(name)
        return present


class FakeUploads:
    """Uploads that wait, by ID: the bytes of each photo by its name, None for one that is gone."""

    def __init__(self, steps: Steps):
        self.waiting: dict[str, dict[str, bytes | None]] = {}
        self.consumed: set[str] = set()
        self.stored_at: dict[str, float] = {}
        self.qualities: dict[str, dict[str, PhotoQuality]] = {}
        self._steps = steps
        self._last = 1000

    def create(
        self, person_id: str, photos: Sequence[tuple[str, bytes]], qualities: Sequence[PhotoQuality] = ()
    ) -> Upload:
        self._steps.reach("uploads.create")
        self._last += 1
        upload_id = f"{person_id}-{self._last}"
        self.stored_at[upload_id] = time.time()
        self.waiting[upload_id] = {f"{n:03d}{extension}": data for n, (extension, data) in enumerate(photos, 1)}
        self.qualities[upload_id] = dict(zip(self.waiting[upload_id], qualities, strict=False))
        return self.open(upload_id)

    def open(self, upload_id: str) -> Upload:
        self._steps.reach("uploads.open")
        photos = self.waiting.get(upload_id)
        if photos is None:
            raise UploadUnknown(f"no upload {upload_id!r} waits here")
        if None in photos.values():
            raise PhotoMissing("a photo is gone")
        if not photos:
            raise UploadEmpty("the folder is empty")
        return Upload(upload_id, *split_upload_id(upload_id), tuple(photos), self.qualities.get(upload_id, {}))

    def read(self, upload: Upload, photo: str) -> bytes:
        self._steps.reach("uploads.read")
        photos = self.waiting.get(upload.upload_id)
        if photos is None:
            raise UploadUnknown(f"{upload.upload_id!r} has just been used")
        data = photos.get(photo)
        if data is None:
            raise PhotoMissing(f"{photo} is gone")
        return data

    def list_waiting(self, after: str, limit: int) -> list[WaitingUpload]:
        names = sorted(name for name in self.waiting if name > after)[:limit]
        return [
            WaitingUpload(name, split_upload_id(name)[0], len(self.waiting[name]), self.stored_at[name])
            for name in names
        ]

    def discard(self, upload_id: str) -> bool:
        return self.waiting.pop(upload_id, None) is not None

    def consume(self, upload_id: str) -> None:
        self._steps.reach("uploads.consume")
        if self.waiting.pop(upload_id, None) is not None:
            self.consumed.add(upload_id)

    def erase(self, person_id: str, before: float = math.inf) -> list[str]:
        self._steps.reach("uploads.erase")
        theirs = {key for key in (*self.waiting, *self.consumed) if split_upload_id(key)[0] == person_id}
        gone = {key for key in theirs if self.stored_at[key] <= before}
        self.waiting = {key: photos for key, photos in self.waiting.items() if key not in gone}
        self.consumed -= gone
        return []

    def remove_unfinished(self) -> None:
        self._steps.reach("uploads.remove_unfinished")

    def remove_expired(self) -> None:
        self._steps.reach("uploads.remove_expired")


class FakeLocks:
    """Locks of one process."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(STRIPES)]
        self.is_lost = False
        self.people_lost = set[str]()

    @contextmanager
    def hold(self, *person_ids: str) -> Iterator[None]:
        with self.hold_stripes(*map(stripe_of, person_ids)):
            yield

    @contextmanager
    def hold_stripes(self, *stripes: int) -> Iterator[None]:
        with ExitStack() as held:
            for stripe in sorted(set(stripes)):
                held.enter_context(self._hold(stripe))
            yield

    @contextmanager
    def _hold(self, stripe: int) -> Iterator[None]:
        if not self._locks[stripe].acquire(timeout=max(0.0, seconds_left() - 1)):
            raise Busy("another enrollment of this person is under way")
        try:
            yield
        finally:
            self._locks[stripe].release()

    def check(self) -> None:
        if self.is_lost:
            raise DatabaseUnavailable("the lock was lost")

    def lost(self) -> set[str]:
        lost, self.people_lost = self.people_lost, set()
        return lost


@dataclass
class FakeWorkspaces:
    """Gives one workspace, or says what is wrong with the settings."""

    workspace: Workspace
    invalid: EnvInvalid | None = None

    def open(self) -> Workspace:
        if self.invalid:
            raise self.invalid
        return self.workspace
