"""The upload folder: photos that wait to be enrolled or verified."""

import json
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.gateway.errors import PhotoMissing, StorageRefused, UploadEmpty, UploadUnknown

#: The list of an upload's photos, kept in its folder.
MANIFEST = ".photos.json"
CONSUMED_SUFFIX = "_UPLOADED_TO_DB"
UNFINISHED_PREFIX = ".unfinished-"

#: Unfinished uploads older than this many seconds were left by a process that died.
STALE_AFTER = 3600


@dataclass(frozen=True)
class Upload:
    """A folder of photos of one person.

    Attributes:
        upload_id: `<person_id>-<digits>`, the folder's name.
        person_id: whom the photos are said to show.
        token: the digits: unguessable.
        photos: the photos' files.
    """

    upload_id: str
    person_id: str
    token: str
    photos: tuple[Path, ...]


def split_upload_id(upload_id: str) -> tuple[str, str]:
    """(`person_id`, `token`): the parts before and after the last dash; the token is empty where there is none."""
    person_id, _, token = upload_id.rpartition("-")
    return person_id, token


class Uploads:
    """The uploads in one folder."""

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
        return Upload(upload_id, person_id, token, tuple(self._folder / upload_id / name for name in names))

    def open(self, upload_id: str) -> Upload:
        """An upload that has not been enrolled yet.

        Raises:
            UploadUnknown: no such folder, or used already.
            PhotoMissing: a photo is gone.
            UploadEmpty: the folder is empty.
        """
        person_id, token = split_upload_id(upload_id)
        folder = self._folder / upload_id
        safe = person_id and token.isascii() and token.isdigit() and "/" not in upload_id and "\0" not in upload_id
        if not safe or folder.is_symlink() or not folder.is_dir():
            raise UploadUnknown(f"no upload {upload_id!r} waits here")
        photos = tuple(folder / name for name in self._names(folder))
        if not photos:
            raise UploadEmpty(f"the folder of {upload_id!r} is empty")
        return Upload(upload_id, person_id, token, photos)

    def _names(self, folder: Path) -> list[str]:
        present = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.is_symlink())
        if MANIFEST not in present:
            return present
        expected = json.loads((folder / MANIFEST).read_text())
        gone = sorted(set(expected) - set(present))
        if gone:
            raise PhotoMissing(f"{', '.join(gone)} of {folder.name!r} is gone")
        return expected

    def consume(self, upload_id: str) -> None:
        """Marks an upload as enrolled. Idempotent."""
        folder = self._folder / upload_id
        if folder.is_dir():
            folder.rename(self._folder / f"{upload_id}{CONSUMED_SUFFIX}")

    def erase(self, person_id: str) -> None:
        """Deletes all uploads of a person, enrolled or not."""
        for entry in self._folder.iterdir():
            owner, token = split_upload_id(entry.name.removesuffix(CONSUMED_SUFFIX))
            if owner == person_id and token.isdigit():
                shutil.rmtree(entry, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what processes that died have left unfinished."""
        for entry in self._folder.glob(f"{UNFINISHED_PREFIX}*"):
            if time.time() - entry.stat().st_mtime > STALE_AFTER:
                shutil.rmtree(entry, ignore_errors=True)


def read_photo(path: Path) -> bytes:
    """The bytes of an upload's photo.

    Raises:
        PhotoMissing: it has just gone.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as err:
        raise PhotoMissing(f"{path.name} of {path.parent.name!r} is gone") from err
