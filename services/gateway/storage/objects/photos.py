"""The image database in an object store: `photos/<name>-<ID>/{faces,augmented_imgs}/*.png`, as below DB_PATH.

Photos of an enrollment are staged under keys of its own, `staging/<enrollment ID>/…`, and copied within the store once its
row is committed: objects cannot be moved. Each step can be repeated.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from services.common.encryption import Keyring
from services.gateway.storage.objects.bucket import Bucket
from services.gateway.storage.objects.place import ObjectStoreUnavailable
from services.gateway.storage.photo_files import AUGMENTED, FACES, open_photo, place_of, renew_photo, seal_photo
from services.gateway.storage.types import FacePhoto

PHOTOS = "photos/"
STAGING = "staging/"


class PhotoObjects:
    """Objects of a bucket; see PhotoStore."""

    def __init__(self, bucket: Bucket, keyring: Keyring = Keyring()):  # noqa: B008
        self._bucket = bucket
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


def _is_folder(name: str) -> bool:
    return bool(name) and not name.startswith(".") and "/" not in name
