"""The upload folder: photos that wait to be enrolled or verified.

An upload is written into `.unfinished-<token>/<upload_id>` and moved from there once it is whole (unfinished.py).
"""

import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path

from services.common.encryption import Keyring
from services.common.private import FOLDER_MODE, private_opener
from services.gateway.errors import PhotoMissing, StorageRefused, UploadEmpty, UploadUnknown
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.removal import remove_tree
from services.gateway.storage.room import room_in
from services.gateway.storage.types import Upload, WaitingUpload, split_upload_id
from services.gateway.storage.unfinished import is_abandoned, remove_abandoned, unfinished_folder
from services.gateway.storage.upload_ids import new_token, owner_of

#: The list of an upload's photos, kept in its folder.
MANIFEST = ".photos.json"
CONSUMED_SUFFIX = "_UPLOADED_TO_DB"
UNFINISHED_PREFIX = ".unfinished-"


class UploadFolders:
    """A folder for each upload; see UploadStore."""

    def __init__(
        self,
        folder: Path,
        limits: UploadLimits = UploadLimits(),  # noqa: B008
        keyring: Keyring = Keyring(),  # noqa: B008
    ):
        self._folder = folder
        self._keyring = keyring
        self._limits = limits
        self._room = room_in(folder, limits)

    def create(
        self, person_id: str, photos: Sequence[tuple[str, bytes]], qualities: Sequence[PhotoQuality] = ()
    ) -> Upload:
        """See UploadStore.create."""
        self._room.take(sum(len(data) for _, data in photos))
        token = new_token()
        upload_id = f"{person_id}-{token}"
        names = [f"{number:03d}{extension}" for number, (extension, _) in enumerate(photos, 1)]
        try:
            with self._unfinished(token) as folder:
                made = folder / upload_id
                made.mkdir(FOLDER_MODE)
                for name, (_, data) in zip(names, photos, strict=True):
                    _write(made / name, self._keyring.seal(data, "upload", upload_id, name))
                known = dict(zip(names, qualities, strict=True)) if qualities else {}
                _write(made / MANIFEST, _manifest(names, known))
                made.rename(self._folder / upload_id)
        except OSError as err:
            raise StorageRefused(f"the upload could not be stored: {err.strerror}") from err
        return Upload(upload_id, person_id, token, tuple(names), known)

    def open(self, upload_id: str) -> Upload:
        """An upload that has not been enrolled yet.

        Raises:
            UploadUnknown: no such folder, or used already.
            PhotoMissing: a photo is gone.
            UploadEmpty: the folder is empty.
        """
        person_id, token = split_upload_id(upload_id)
        folder = self._folder / upload_id
        if not owner_of(upload_id) or folder.is_symlink() or not folder.is_dir():
            raise UploadUnknown(f"no upload {upload_id!r} waits here")
        try:
            names, known = _photo_names(folder), _qualities(folder)
        except FileNotFoundError as err:
            raise UploadUnknown(f"{upload_id!r} has just been used") from err
        if not names:
            raise UploadEmpty(f"the folder of {upload_id!r} is empty")
        return Upload(upload_id, person_id, token, tuple(names), known)

    def read(self, upload: Upload, photo: str) -> bytes:
        """The bytes of a photo.

        Raises:
            PhotoMissing: it has gone since the upload was opened.
            UploadUnknown: the upload has.
        """
        folder = self._folder / upload.upload_id
        try:
            return self._keyring.open((folder / photo).read_bytes(), "upload", upload.upload_id, photo)
        except FileNotFoundError as err:
            if not folder.is_dir():
                raise UploadUnknown(f"{upload.upload_id!r} has just been used") from err
            raise PhotoMissing(f"{photo} of {upload.upload_id!r} is gone") from err

    def list_waiting(self, after: str, limit: int) -> list[WaitingUpload]:
        """Those that were not enrolled yet, in the order of their IDs behind one of them."""
        names = sorted(
            entry.name
            for entry in self._folder.iterdir()
            if entry.name > after and _owner(entry.name) and not entry.name.endswith(CONSUMED_SUFFIX)
        )
        found = list[WaitingUpload]()
        for name in names:
            with suppress(UploadUnknown, UploadEmpty, PhotoMissing):  # gone meanwhile, or no upload of ours
                upload = self.open(name)
                stored_at = _stored_at(self._folder / name)
                found.append(WaitingUpload(name, upload.person_id, len(upload.photos), stored_at))
            if len(found) == limit:
                break
        return found

    def discard(self, upload_id: str) -> bool:
        """Deletes one that was not enrolled yet; False where there is none."""
        try:
            self.open(upload_id)
        except UploadUnknown:
            return False
        except (UploadEmpty, PhotoMissing):
            pass
        self._discard(self._folder / upload_id)
        return True

    def consume(self, upload_id: str) -> None:
        """Marks an upload as enrolled. Idempotent."""
        folder = self._folder / upload_id
        if folder.is_dir():
            folder.rename(self._folder / f"{upload_id}{CONSUMED_SUFFIX}")

    def erase(self, person_id: str, before: float = math.inf) -> list[str]:
        """Deletes all uploads of a person, enrolled or not, and those that dead processes have left half written.

        Args:
            before: those stored later stay, seconds since 1970.

        Returns:
            What could not be deleted (paths below the folder).
        """
        left: list[str] = []
        for entry in self._folder.iterdir():
            if entry.name.startswith(UNFINISHED_PREFIX):
                theirs = any(_owner(path.name) == person_id for path in entry.glob("*"))
                if theirs and is_abandoned(entry):
                    left += remove_tree(entry, self._folder)
            elif _owner(entry.name) == person_id and _stored_at(entry) <= before:
                left += remove_tree(entry, self._folder)
        return left

    def remove_unfinished(self) -> None:
        """Deletes uploads whose process died while it wrote them."""
        remove_abandoned(self._folder, UNFINISHED_PREFIX)

    def remove_expired(self) -> None:
        """Deletes uploads that were stored longer ago than uploads are kept, enrolled or not."""
        if self._limits.ttl:
            oldest = time.time() - self._limits.ttl
            for entry in self._folder.iterdir():
                if _owner(entry.name) and _stored_at(entry) < oldest:
                    self._discard(entry)
        self._room.measure()

    def renew(self) -> int:
        """Encrypts all photos by the present key; returns how many were not. Raises OSError, CannotDecrypt."""
        renewed = 0
        for folder in [entry for entry in self._folder.iterdir() if _owner(entry.name) and not entry.is_symlink()]:
            with suppress(FileNotFoundError), self._unfinished(secrets.token_hex(8)) as unfinished:
                for name in _photo_names(folder):
                    upload_id = folder.name.removesuffix(CONSUMED_SUFFIX)
                    data = self._keyring.renewed((folder / name).read_bytes(), "upload", upload_id, name)
                    if data is not None:
                        _write(unfinished / name, data)
                        (unfinished / name).replace(folder / name)
                        renewed += 1
        return renewed

    def _discard(self, upload: Path) -> None:
        """Deletes an upload that somebody may be opening: it is gone at once, and then its photos."""
        unfinished = self._folder / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            upload.rename(unfinished)
            remove_tree(unfinished, self._folder)

    def _unfinished(self, token: str) -> AbstractContextManager[Path]:
        return unfinished_folder(self._folder, f"{UNFINISHED_PREFIX}{token}")


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb", opener=private_opener) as file:
        file.write(data)


def _stored_at(folder: Path) -> float:
    """When an upload was stored, in seconds since 1970; long ago where it has just gone."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _owner(name: str) -> str:
    """Whose upload a folder is, by its name; empty where it is none."""
    return owner_of(name.removesuffix(CONSUMED_SUFFIX))


def _manifest(names: Sequence[str], qualities: Mapping[str, PhotoQuality]) -> bytes:
    """An object by name; earlier versions have written, and take an object for, a list of names."""
    known = {name: asdict(qualities[name]) if name in qualities else None for name in names}
    return json.dumps(known).encode()


def _qualities(folder: Path) -> dict[str, PhotoQuality]:
    manifest = folder / MANIFEST
    content = json.loads(manifest.read_text()) if manifest.exists() else []
    if not isinstance(content, dict):
        return {}
    return {name: PhotoQuality(**quality) for name, quality in content.items() if quality}


def _photo_names(folder: Path) -> list[str]:
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.is_symlink())
    if MANIFEST not in present:
        return present
    expected = json.loads((folder / MANIFEST).read_text())
    gone = sorted(set(expected) - set(present))
    if gone:
        raise PhotoMissing(f"{', '.join(gone)} of {folder.name!r} is gone")
    return list(expected)
