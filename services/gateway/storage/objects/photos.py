"""The image database in an object store: `photos/<name>-<ID>/{faces,augmented_imgs}/*.png`, as below DB_PATH.

Photos of an enrollment are staged under keys of its own, `staging/<enrollment ID>/…`, and copied within the store once its
row is committed: objects cannot be moved. Each step can be repeated.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.common.encryption import Keyring
from services.common.private import FOLDER_MODE
from services.gateway.storage.objects.bucket import Bucket
from services.gateway.storage.objects.place import ObjectStoreUnavailable
from services.gateway.storage.photo_files import (
    AUGMENTED,
    FACES,
    files_below,
    open_photo,
    place_of,
    renew_photo,
    seal_photo,
)
from services.gateway.storage.types import FacePhoto
from services.gateway.storage.unfinished import remove_abandoned, unfinished_folder

PHOTOS = "photos/"
STAGING = "staging/"
ORPHANS = "orphans/"

#: What paths of staged photos begin with where photos are files.
STAGED_FILES = ".staging/"
#: On this machine, folders of photos that are fetched.
FETCHED_PREFIX = ".linked-"


class PhotoObjects:
    """Objects of a bucket; see PhotoStore."""

    def __init__(self, bucket: Bucket, scratch: Path, keyring: Keyring = Keyring()):  # noqa: B008
        """`scratch`: a folder on this machine, for photos that are fetched to be saved."""
        self._bucket = bucket
        self._scratch = scratch
        self._keyring = keyring

    def path_of(self, folder: str) -> str:
        """The address of a person's folder."""
        return f"{self._bucket.uri}{PHOTOS}{folder}"

    def has(self, folder: str) -> bool:
        """Whether there is anything in a person's folder."""
        return _is_folder(folder) and self._bucket.has_any(f"{PHOTOS}{folder}/")

    def names(self, folder: str) -> dict[str, bool]:
        """File names of a person's photos → whether augmented."""
        found: dict[str, bool] = {}
        for augmented, part in ((False, FACES), (True, AUGMENTED)):
            prefix = f"{PHOTOS}{folder}/{part}/"
            names = (one.key[len(prefix) :] for one in self._bucket.objects(prefix))
            found |= {name: augmented for name in names if name.endswith(".png") and "/" not in name}
        return found

    def read(self, folder: str) -> Iterator[FacePhoto]:
        """A person's photos."""
        for name, augmented in self.names(folder).items():
            yield self.read_one(folder, name, augmented)

    def read_one(self, folder: str, name: str, augmented: bool) -> FacePhoto:
        """One of them, by the name that `names` gives; raises FileNotFoundError."""
        data = self._bucket.get(f"{PHOTOS}{folder}/{place_of(name, augmented)}")
        return open_photo(self._keyring, folder, name, augmented, data)

    def stage(self, enrollment_id: str, folder: str, photos: Iterable[FacePhoto]) -> None:
        """Writes photos for a person's folder where nobody reads them yet; raises OSError."""

        def put(photo: FacePhoto) -> None:
            key = f"{STAGING}{enrollment_id}/{place_of(photo.name, photo.augmented)}"
            self._bucket.put(key, seal_photo(self._keyring, folder, photo))

        self._bucket.each(put, photos)

    def publish(self, enrollment_id: str, folder: str) -> None:
        """Copies staged photos into the person's folder, and deletes them where they were. Idempotent."""
        staging = f"{STAGING}{enrollment_id}/"

        def publish(key: str) -> None:
            with suppress(FileNotFoundError):  # another has done so just now
                self._bucket.copy(key, f"{PHOTOS}{folder}/{key[len(staging) :]}")

        self._bucket.each(publish, [one.key for one in self._bucket.objects(staging)])
        self.unstage(enrollment_id)

    def unstage(self, enrollment_id: str) -> list[str]:
        """Deletes what is staged of an enrollment; returns what could not be deleted. Idempotent."""
        return self._delete_all(f"{STAGING}{enrollment_id}/")

    def staged(self) -> list[str]:
        """IDs of the enrollments of which something is staged."""
        return sorted(self._bucket.folders(STAGING))

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Deletes photos of a person by file name. Idempotent."""
        keys = [f"{PHOTOS}{folder}/{place_of(name, augmented)}" for name in names for augmented in (False, True)]
        if left := self._bucket.delete(keys):
            raise ObjectStoreUnavailable(f"photos could not be deleted: {'; '.join(left)}")

    def renew(self, renewal_id: str, folder: str) -> int:
        """Encrypts a person's photos by the present key; returns how many were not. Raises OSError, CannotDecrypt."""
        renewed = 0
        for name, augmented in self.names(folder).items():
            key = f"{PHOTOS}{folder}/{place_of(name, augmented)}"
            stored, etag = self._bucket.get_with_etag(key)
            data = renew_photo(self._keyring, folder, name, stored)
            renewed += data is not None and self._bucket.replace(key, data, etag)
        return renewed

    def erase(self, folder: str) -> list[str]:
        """Deletes a person's folder whole; returns what could not be deleted. Idempotent."""
        return self._delete_all(f"{PHOTOS}{folder}/") if _is_folder(folder) else []

    def folders_ending(self, suffix: str) -> list[str]:
        """Names of people's folders that end so."""
        return [folder for folder in self._bucket.folders(PHOTOS) if folder.endswith(suffix) and _is_folder(folder)]

    @contextmanager
    def linked(self) -> Iterator["FetchedPhotos"]:
        """To keep all photos as they are at a moment, whatever happens to them during the block."""
        with unfinished_folder(self._scratch, f"{FETCHED_PREFIX}{secrets.token_hex(8)}") as folder:
            yield FetchedPhotos(self._bucket, folder)

    def remove_abandoned(self) -> None:
        """Deletes what `linked` has left on this machine whose process died."""
        remove_abandoned(self._scratch, FETCHED_PREFIX)

    def take_in(self, source: Path, go_on: Callable[[], None]) -> None:
        """Puts folders in that are on this machine, each in the place of one of its name; see KeptPhotos."""
        for folder in source.iterdir():
            go_on()
            if left := self.erase(folder.name):
                raise ObjectStoreUnavailable(f"photos could not be deleted: {'; '.join(left)}")
            prefix = STAGING if f"{folder.name}/" == STAGED_FILES else f"{PHOTOS}{folder.name}/"
            files = [(f"{prefix}{name}", path) for name, path in files_below(folder)]
            self._bucket.each(lambda file: self._bucket.put(file[0], file[1].read_bytes()), files)

    @property
    def orphans(self) -> str:
        """Where `set_aside` moves folders."""
        return f"{self._bucket.uri}{ORPHANS}"

    def set_aside(self, folder: str) -> None:
        """Moves a folder of nobody to where nobody looks for photos."""
        keys = [one.key for one in self._bucket.objects(f"{PHOTOS}{folder}/")]
        self._bucket.each(lambda key: self._bucket.copy(key, f"{ORPHANS}{key.removeprefix(PHOTOS)}"), keys)
        if left := self._bucket.delete(keys):
            raise ObjectStoreUnavailable(f"photos could not be deleted: {'; '.join(left)}")

    def cache_files(self) -> list[str]:
        """None: the original knows no object stores."""
        return []

    def delete_cache(self, name: str) -> bool:
        """False: there is none."""
        return False

    def _delete_all(self, prefix: str) -> list[str]:
        try:
            return self._bucket.delete([one.key for one in self._bucket.objects(prefix)])
        except ObjectStoreUnavailable as err:
            return [f"{prefix} ({err})"]


class FetchedPhotos:
    """Copies of photos, in a folder of their own.

    Attributes:
        folder: theirs.
    """

    def __init__(self, bucket: Bucket, folder: Path):
        self._bucket = bucket
        self.folder = folder

    def prepare(self) -> None:
        """Fetches what is there; it may change before `take`. Raises OSError."""
        self.take(())

    def take(self, staged: Iterable[str]) -> None:
        """Fetches the photos of all people that it has not yet, and drops those that are gone. Raises OSError.

        Args:
            staged: the enrollments whose staged photos are fetched too.
        """
        wanted = {one.key.removeprefix(PHOTOS): one.key for one in self._bucket.objects(PHOTOS)}
        for enrollment_id in staged:
            staging = self._bucket.objects(f"{STAGING}{enrollment_id}/")
            wanted |= {f"{STAGED_FILES}{one.key.removeprefix(STAGING)}": one.key for one in staging}
        wanted = {name: key for name, key in wanted.items() if _is_photo(name)}
        there = dict(self.files())
        for name in there.keys() - wanted.keys():
            there[name].unlink()
        self._bucket.each(self._fetch, [(name, wanted[name]) for name in sorted(wanted.keys() - there.keys())])

    def files(self) -> Iterator[tuple[str, Path]]:
        """Each by its path below DB_PATH, were they there."""
        return files_below(self.folder)

    def _fetch(self, wanted: tuple[str, str]) -> None:
        name, key = wanted
        path = self.folder / name
        with suppress(FileNotFoundError):  # gone by now: somebody was erased
            data = self._bucket.get(key)
            path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            path.write_bytes(data)


def _is_photo(name: str) -> bool:
    """Whether a path is that of a photo in a person's folder, or of one that is staged."""
    folder, *parts = name.removeprefix(STAGED_FILES).split("/")
    return _is_folder(folder) and len(parts) == 2 and parts[0] in (FACES, AUGMENTED) and parts[1].endswith(".png")


def _is_folder(name: str) -> bool:
    return bool(name) and not name.startswith(".") and "/" not in name
