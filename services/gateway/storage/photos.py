"""The image database: a folder a person, `<name>-<ID>/{faces,augmented_imgs}/*.png`.

Photos of an enrollment are staged first and published once its row is committed.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.encryption import Keyring
from services.common.private import FOLDER_MODE, private_opener
from services.gateway.storage.photo_files import (
    AUGMENTED,
    FACES,
    files_below,
    open_photo,
    place_of,
    renew_photo,
    seal_photo,
)
from services.gateway.storage.removal import remove_tree
from services.gateway.storage.types import FacePhoto
from services.gateway.storage.unfinished import remove_abandoned, unfinished_folder

STAGING = ".staging"
LINKED_PREFIX = ".linked-"
ORPHANS = ".orphans"


class PhotoFolders:
    """The folders below DB_PATH; see PhotoStore."""

    def __init__(self, folder: Path, keyring: Keyring = Keyring()):  # noqa: B008
        self._folder = folder
        self._keyring = keyring

    def path_of(self, folder: str) -> str:
        """The path of a person's folder."""
        return str(self._folder / folder)

    def has(self, folder: str) -> bool:
        """Whether a person's folder is there."""
        return folder not in ("", ".", "..", STAGING) and (self._folder / folder).is_dir()

    def names(self, folder: str) -> dict[str, bool]:
        """File names of a person's photos → whether augmented."""
        found: dict[str, bool] = {}
        for augmented, part in ((False, FACES), (True, AUGMENTED)):
            found |= {path.name: augmented for path in sorted((self._folder / folder / part).glob("*.png"))}
        return found

    def read(self, folder: str) -> Iterator[FacePhoto]:
        """A person's photos."""
        for name, augmented in self.names(folder).items():
            yield self.read_one(folder, name, augmented)

    def read_one(self, folder: str, name: str, augmented: bool) -> FacePhoto:
        """One of them, by the name that `names` gives; raises FileNotFoundError."""
        data = (self._folder / folder / place_of(name, augmented)).read_bytes()
        return open_photo(self._keyring, folder, name, augmented, data)

    def stage(self, enrollment_id: str, folder: str, photos: Iterable[FacePhoto]) -> None:
        """Writes photos for a person's folder where nobody reads them yet, safe from a power cut; raises OSError."""
        staging = self._folder / STAGING / enrollment_id
        staging.parent.mkdir(FOLDER_MODE, exist_ok=True)
        staging.mkdir(FOLDER_MODE)
        parts = set[Path]()
        for photo in photos:
            path = staging / place_of(photo.name, photo.augmented)
            if path.parent not in parts:
                path.parent.mkdir(FOLDER_MODE)
                parts.add(path.parent)
            write_synced(path, seal_photo(self._keyring, folder, photo))
        for path in (*sorted(parts), staging, staging.parent):
            _sync_folder(path)

    def publish(self, enrollment_id: str, folder: str) -> None:
        """Moves staged photos into the person's folder. Idempotent."""
        staging, person = self._folder / STAGING / enrollment_id, self._folder / folder
        person.mkdir(FOLDER_MODE, exist_ok=True)
        for part in (FACES, AUGMENTED):
            (person / part).mkdir(FOLDER_MODE, exist_ok=True)
            if (staging / part).is_dir():
                for path in (staging / part).glob("*.png"):
                    path.replace(person / part / path.name)
                _sync_folder(person / part)
        self.unstage(enrollment_id)

    def unstage(self, enrollment_id: str) -> list[str]:
        """Deletes what is staged of an enrollment; returns what could not be deleted. Idempotent."""
        return remove_tree(self._folder / STAGING / enrollment_id, self._folder)

    def staged(self) -> list[str]:
        """IDs of the enrollments of which something is staged."""
        return sorted(path.name for path in (self._folder / STAGING).glob("*"))

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Deletes photos of a person by file name, and the folder where nothing else is left in it. Idempotent."""
        person = self._folder / folder
        for name in names:
            for part in (FACES, AUGMENTED):
                (person / part / name).unlink(missing_ok=True)
        for path in (person / FACES, person / AUGMENTED, person):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def renew(self, renewal_id: str, folder: str) -> int:
        """Encrypts a person's photos by the present key; returns how many were not. Raises OSError, CannotDecrypt.

        Args:
            renewal_id: as of an enrollment: what is staged under it is put in the place of what was.
        """
        staging, person = self._folder / STAGING / renewal_id, self._folder / folder
        renewed = 0
        for name, augmented in self.names(folder).items():
            path = person / place_of(name, augmented)
            data = renew_photo(self._keyring, folder, name, path.read_bytes())
            if data is not None:
                staging.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                write_synced(staging / name, data)
                (staging / name).replace(path)
                renewed += 1
        self.unstage(renewal_id)
        return renewed

    def erase(self, folder: str) -> list[str]:
        """Deletes a person's folder whole; returns what could not be deleted (paths below DB_PATH). Idempotent."""
        if folder.startswith(".") or not folder or "/" in folder:
            return []
        return remove_tree(self._folder / folder, self._folder)

    def folders_ending(self, suffix: str) -> list[str]:
        """Names of people's folders that end so."""
        return sorted(
            path.name for path in self._folder.iterdir() if path.name.endswith(suffix) and self.has(path.name)
        )

    @contextmanager
    def linked(self) -> Iterator["LinkedPhotos"]:
        """To keep all photos as they are at a moment, whatever happens to them during the block."""
        with unfinished_folder(self._folder, f"{LINKED_PREFIX}{secrets.token_hex(8)}") as folder:
            yield LinkedPhotos(self._folder, folder)

    def remove_abandoned(self) -> None:
        """Deletes what `linked` has left whose process died."""
        remove_abandoned(self._folder, LINKED_PREFIX)

    @property
    def orphans(self) -> str:
        """Where `set_aside` moves folders."""
        return str(self._folder / ORPHANS)

    def set_aside(self, folder: str) -> None:
        """Moves a folder of nobody to where nobody looks for photos."""
        (self._folder / ORPHANS).mkdir(FOLDER_MODE, exist_ok=True)
        (self._folder / folder).rename(self._folder / ORPHANS / folder)

    def take_in(self, source: Path, go_on: Callable[[], None]) -> None:
        """Moves folders in, each in the place of one of its name; see KeptPhotos."""
        for folder in source.iterdir():
            go_on()
            target = self._folder / folder.name
            if target.exists():
                shutil.rmtree(target)
            folder.rename(target)

    def cache_files(self) -> list[str]:
        """File names of the pickles that the original has left in DB_PATH."""
        return sorted(path.name for path in self._folder.glob("*.pkl") if path.is_file())

    def delete_cache(self, name: str) -> bool:
        """Deletes one of them; False where it was gone already."""
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return False
        return True


class LinkedPhotos:
    """Links to photos, in a folder of their own.

    Attributes:
        folder: theirs.
    """

    def __init__(self, source: Path, folder: Path):
        self._source = source
        self.folder = folder

    def prepare(self) -> None:
        """Links are made in no time."""

    def take(self, staged: Iterable[str]) -> None:
        """Links the photos of all people; copies them where the disk knows no hard links. Raises OSError.

        Args:
            staged: the enrollments whose staged photos are linked too.
        """
        folders = [path for path in self._source.iterdir() if path.is_dir() and not path.name.startswith(".")]
        for folder in [*folders, *(self._source / STAGING / name for name in staged)]:
            if folder.is_dir():
                shutil.copytree(folder, self.folder / folder.relative_to(self._source), copy_function=_link)

    def files(self) -> Iterator[tuple[str, Path]]:
        """Each by its path below DB_PATH."""
        return files_below(self.folder)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write_synced(path: Path, data: bytes) -> None:
    """Writes a new file, safe from a power cut."""
    with open(path, "xb", opener=private_opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
