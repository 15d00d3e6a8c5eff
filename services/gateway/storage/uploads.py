"""The upload folder: photos that wait to be enrolled or verified."""

import json
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from services.gateway.errors import PhotoMissing, StorageRefused, UploadEmpty, UploadUnknown
from services.gateway.storage.types import Upload, split_upload_id

#: The list of an upload's photos, kept in its folder.
MANIFEST = ".photos.json"
CONSUMED_SUFFIX = "_UPLOADED_TO_DB"
UNFINISHED_PREFIX = ".unfinished-"

#: Bytes that the name of a folder may have.
MAX_FOLDER_NAME = 255

#: Unfinished uploads older than this many seconds were left by a process that died.
STALE_AFTER = 3600


class UploadFolders:
    """A folder for each upload; see UploadStore."""

    def __init__(self, folder: Path):
        self._folder = folder

    def create(self, person_id: str, photos: Sequence[tuple[str, bytes]]) -> Upload:
        """Stores photos, all or none.

        Args:
            person_id: a checked ID.
            photos: (file extension with its dot, file's bytes).

        Raises:
            StorageRefused: the folder cannot be written to.
        """
        token = str(secrets.randbelow(9 * 10**17) + 10**17)
        upload_id = f"{person_id}-{token}"
        unfinished = self._folder / f"{UNFINISHED_PREFIX}{token}"
        names = [f"{number:03d}{extension}" for number, (extension, _) in enumerate(photos, 1)]
        try:
            unfinished.mkdir()
            for name, (_, data) in zip(names, photos, strict=True):
                (unfinished / name).write_bytes(data)
            (unfinished / MANIFEST).write_text(json.dumps(names))
            unfinished.rename(self._folder / upload_id)
        except OSError as err:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise StorageRefused(f"the upload could not be stored: {err.strerror}") from err
        return Upload(upload_id, person_id, token, tuple(names))

    def open(self, upload_id: str) -> Upload:
        """An upload that has not been enrolled yet.

        Raises:
            UploadUnknown: no such folder, or used already.
            PhotoMissing: a photo is gone.
            UploadEmpty: the folder is empty.
        """
        person_id, token = split_upload_id(upload_id)
        folder = self._folder / upload_id
        if (
            not (person_id and _is_token(token) and _is_folder_name(upload_id))
            or folder.is_symlink()
            or not folder.is_dir()
        ):
            raise UploadUnknown(f"no upload {upload_id!r} waits here")
        try:
            names = _photo_names(folder)
        except FileNotFoundError as err:
            raise UploadUnknown(f"{upload_id!r} has just been used") from err
        if not names:
            raise UploadEmpty(f"the folder of {upload_id!r} is empty")
        return Upload(upload_id, person_id, token, tuple(names))

    def read(self, upload: Upload, photo: str) -> bytes:
        """The bytes of a photo.

        Raises:
            PhotoMissing: it has gone since the upload was opened.
            UploadUnknown: the upload has.
        """
        folder = self._folder / upload.upload_id
        try:
            return (folder / photo).read_bytes()
        except FileNotFoundError as err:
            if not folder.is_dir():
                raise UploadUnknown(f"{upload.upload_id!r} has just been used") from err
            raise PhotoMissing(f"{photo} of {upload.upload_id!r} is gone") from err

    def consume(self, upload_id: str) -> None:
        """Marks an upload as enrolled. Idempotent."""
        folder = self._folder / upload_id
        if folder.is_dir():
            folder.rename(self._folder / f"{upload_id}{CONSUMED_SUFFIX}")

    def erase(self, person_id: str) -> None:
        """Deletes all uploads of a person, enrolled or not."""
        for entry in self._folder.iterdir():
            owner, token = split_upload_id(entry.name.removesuffix(CONSUMED_SUFFIX))
            if owner == person_id and _is_token(token):
                shutil.rmtree(entry, ignore_errors=True)

    def remove_unfinished(self) -> None:
        """Deletes uploads whose process died while it wrote them."""
        for entry in self._folder.glob(f"{UNFINISHED_PREFIX}*"):
            if time.time() - entry.stat().st_mtime > STALE_AFTER:
                shutil.rmtree(entry, ignore_errors=True)


def _is_token(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_folder_name(text: str) -> bool:
    return "/" not in text and "\0" not in text and len(text.encode()) <= MAX_FOLDER_NAME


def _photo_names(folder: Path) -> list[str]:
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.is_symlink())
    if MANIFEST not in present:
        return present
    expected = json.loads((folder / MANIFEST).read_text())
    gone = sorted(set(expected) - set(present))
    if gone:
        raise PhotoMissing(f"{', '.join(gone)} of {folder.name!r} is gone")
    return list(expected)
