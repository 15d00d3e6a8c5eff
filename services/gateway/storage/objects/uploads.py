"""Uploads in an object store: each is one object, so that it is there whole or not at all, and gone at once.

An object begins with four bytes that say how long the list of its photos is; the list, and then the photos, follow. One
that waits has the key `uploads/<upload ID>`, one that was enrolled `used/<upload ID>/<when it was stored, in seconds since
1970>`.
"""

import json
import math
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any

from services.common.encryption import Keyring
from services.gateway.errors import PhotoMissing, UploadEmpty, UploadUnknown
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.objects.bucket import Bucket, Stored
from services.gateway.storage.objects.place import ObjectStoreUnavailable
from services.gateway.storage.room import Room
from services.gateway.storage.types import Upload, WaitingUpload, split_upload_id
from services.gateway.storage.upload_ids import new_token, owner_of

WAITING = "uploads/"
USED = "used/"

#: Bytes that are read of an object in the hope that the list of its photos is in them.
HEAD = 16 << 10

#: Seconds by which the store's clock may be ahead of a gateway's: what is erased includes uploads of so much later.
CLOCK_SKEW = 60


@dataclass(frozen=True)
class _Photo:
    """Where a photo is within an object, in bytes."""

    first: int
    size: int
    quality: PhotoQuality | None


@dataclass(frozen=True)
class _Content:
    """What is in an object that has this ETag."""

    photos: Mapping[str, _Photo]
    etag: str


class UploadObjects:
    """An object for each upload; see UploadStore."""

    def __init__(
        self,
        bucket: Bucket,
        limits: UploadLimits = UploadLimits(),  # noqa: B008
        keyring: Keyring = Keyring(),  # noqa: B008
    ):
        self._bucket = bucket
        self._keyring = keyring
        self._limits = limits
        self._room = Room(limits, lambda: sum(one.size for one in self._all()))

    def create(
        self, person_id: str, photos: Sequence[tuple[str, bytes]], qualities: Sequence[PhotoQuality] = ()
    ) -> Upload:
        """See UploadStore.create."""
        self._room.take(sum(len(data) for _, data in photos))
        token = new_token()
        upload_id = f"{person_id}-{token}"
        names = [f"{number:03d}{extension}" for number, (extension, _) in enumerate(photos, 1)]
        sealed = [
            self._keyring.seal(data, "upload", upload_id, name) for name, (_, data) in zip(names, photos, strict=True)
        ]
        known = dict(zip(names, qualities, strict=True)) if qualities else {}
        self._bucket.put(f"{WAITING}{upload_id}", _packed(names, sealed, known))
        return Upload(upload_id, person_id, token, tuple(names), known)

    def open(self, upload_id: str) -> Upload:
        """An upload that has not been enrolled yet.

        Raises:
            UploadUnknown: there is none, or it was used already.
            UploadEmpty: there is no photo in it.
        """
        if not owner_of(upload_id):
            raise UploadUnknown(f"no upload {upload_id!r} waits here")
        photos = self._content(upload_id).photos
        if not photos:
            raise UploadEmpty(f"there is no photo in {upload_id!r}")
        known = {name: photo.quality for name, photo in photos.items() if photo.quality}
        return Upload(upload_id, *split_upload_id(upload_id), tuple(photos), known)

    def read(self, upload: Upload, photo: str) -> bytes:
        """The bytes of a photo.

        Raises:
            PhotoMissing: there is no such photo.
            UploadUnknown: the upload has gone since it was opened.
        """
        while True:
            content = self._content(upload.upload_id)
            if photo not in content.photos:
                raise PhotoMissing(f"{photo} of {upload.upload_id!r} is gone")
            place = content.photos[photo]
            if not place.size:
                return b""
            data, etag = self._part(upload.upload_id, place.first, place.size)
            if etag == content.etag:  # else it was encrypted anew in between
                return self._keyring.open(data, "upload", upload.upload_id, photo)

    def list_waiting(self, after: str, limit: int) -> list[WaitingUpload]:
        """Those that were not enrolled yet, in the order of their IDs behind one of them."""
        listed = self._bucket.objects(WAITING, f"{WAITING}{after}")
        found = islice((one for one in listed if owner_of(_id_of(one))), limit)
        return [one for one in self._bucket.each(self._waiting, found) if one]

    def discard(self, upload_id: str) -> bool:
        """Deletes one that was not enrolled yet; False where there is none."""
        key = f"{WAITING}{upload_id}"
        if not owner_of(upload_id) or not self._bucket.find(key):
            return False
        self._delete([key])
        return True

    def consume(self, upload_id: str) -> None:
        """Marks an upload as enrolled. Idempotent."""
        key = f"{WAITING}{upload_id}"
        found = self._bucket.find(key) if owner_of(upload_id) else None
        if found:
            with suppress(FileNotFoundError):
                self._bucket.copy(key, f"{USED}{upload_id}/{int(found.stored_at)}")
            self._delete([key])

    def erase(self, person_id: str, before: float = math.inf) -> list[str]:
        """Deletes all uploads of a person, enrolled or not.

        Args:
            before: those stored later stay, seconds since 1970, but for what clocks may differ by.

        Returns:
            What could not be deleted.
        """
        theirs = (self._bucket.objects(f"{prefix}{person_id}-") for prefix in (WAITING, USED))
        return self._bucket.delete(
            one.key
            for one in chain.from_iterable(theirs)
            if owner_of(_id_of(one)) == person_id and _stored_at(one) - CLOCK_SKEW <= before
        )

    def remove_unfinished(self) -> None:
        """There are none."""

    def remove_expired(self) -> None:
        """Deletes uploads that were stored longer ago than uploads are kept, enrolled or not."""
        if self._limits.ttl:
            oldest = time.time() - self._limits.ttl
            self._delete(one.key for one in self._all() if owner_of(_id_of(one)) and _stored_at(one) < oldest)
        self._room.measure()

    def renew(self) -> int:
        """Encrypts all photos by the present key; returns how many were not. Raises OSError, CannotDecrypt."""
        return sum(self._renew(one) for one in list(self._all()) if owner_of(_id_of(one)))

    def _renew(self, stored: Stored) -> int:
        """One object's photos; none where somebody uses or deletes it meanwhile."""
        upload_id = _id_of(stored)
        try:
            data, etag = self._bucket.get_with_etag(stored.key)
        except FileNotFoundError:
            return 0
        photos, sealed, renewed = _photos(data), list[bytes](), 0
        for name, photo in photos.items():
            before = data[photo.first : photo.first + photo.size]
            after = self._keyring.renewed(before, "upload", upload_id, name)
            renewed += after is not None
            sealed.append(before if after is None else after)
        known = {name: photo.quality for name, photo in photos.items() if photo.quality}
        wanted = renewed and self._bucket.replace(stored.key, _packed(list(photos), sealed, known), etag)
        return renewed if wanted else 0

    def _content(self, upload_id: str) -> _Content:
        while True:
            start, etag = self._part(upload_id, 0, HEAD)
            length = _list_end(start)
            if length > len(start):
                start, now = self._part(upload_id, 0, length)
                if now != etag:
                    continue
            return _Content(_photos(start), etag)

    def _part(self, upload_id: str, first: int, size: int) -> tuple[bytes, str]:
        try:
            return self._bucket.get_with_etag(f"{WAITING}{upload_id}", first, size)
        except FileNotFoundError as err:
            raise UploadUnknown(f"no upload {upload_id!r} waits here") from err

    def _waiting(self, stored: Stored) -> WaitingUpload | None:
        upload_id = _id_of(stored)
        try:
            photos = self._content(upload_id).photos
        except UploadUnknown:  # gone meanwhile
            return None
        return WaitingUpload(upload_id, owner_of(upload_id), len(photos), stored.stored_at)

    def _all(self) -> Iterator[Stored]:
        return chain(self._bucket.objects(WAITING), self._bucket.objects(USED))

    def _delete(self, keys: Iterable[str]) -> None:
        if left := self._bucket.delete(keys):
            raise ObjectStoreUnavailable(f"uploads could not be deleted: {'; '.join(left)}")


def _id_of(stored: Stored) -> str:
    """Of the upload that an object is, by its key."""
    return stored.key.split("/")[1]


def _stored_at(stored: Stored) -> float:
    """When an upload was stored, in seconds since 1970."""
    time_of = stored.key.rpartition("/")[2]
    return float(time_of) if stored.key.startswith(USED) and time_of.isdecimal() else stored.stored_at


def _packed(names: Sequence[str], photos: Sequence[bytes], qualities: Mapping[str, PhotoQuality]) -> bytes:
    listed = [
        {"name": name, "size": len(photo), "quality": asdict(qualities[name]) if name in qualities else None}
        for name, photo in zip(names, photos, strict=True)
    ]
    text = json.dumps(listed).encode()
    return b"".join((struct.pack(">I", len(text)), text, *photos))


def _list_end(data: bytes) -> int:
    """Where the list of photos ends, in bytes from the object's beginning."""
    (length,) = struct.unpack_from(">I", data)
    return 4 + int(length)


def _photos(data: bytes) -> dict[str, _Photo]:
    """What the list at an object's beginning says."""
    first = _list_end(data)
    listed: list[dict[str, Any]] = json.loads(data[4:first])
    found: dict[str, _Photo] = {}
    for one in listed:
        quality = PhotoQuality(**one["quality"]) if one["quality"] else None
        found[one["name"]] = _Photo(first, one["size"], quality)
        first += one["size"]
    return found
