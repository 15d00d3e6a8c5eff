"""Where photos and uploads are kept: in folders that `.env` names, or in an object store."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.common.encryption import Keyring
from services.gateway.env import Env
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.objects.place import BucketPlace
from services.gateway.storage.photos import PhotoFolders
from services.gateway.storage.types import PhotoStore, UploadStore
from services.gateway.storage.uploads import UploadFolders


class PhotosOfAMoment(Protocol):
    """All photos as they are at one moment, as files on this machine.

    Attributes:
        folder: where they are; there is room for more files.
    """

    folder: Path

    def prepare(self) -> None:
        """Fetches what it can before that moment, so that this does not last long. Raises OSError."""

    def take(self, staged: Iterable[str]) -> None:
        """Fetches the photos of all people, and those staged of these enrollments. Raises OSError."""

    def files(self) -> Iterator[tuple[str, Path]]:
        """Each by its path below DB_PATH, wherever they are really."""


class KeptPhotos(PhotoStore, Protocol):
    """Photos, for who looks after all of them."""

    def linked(self) -> AbstractContextManager[PhotosOfAMoment]:
        """To keep all photos as they are at a moment, whatever happens to them during the block."""

    def take_in(self, source: Path, go_on: Callable[[], None]) -> None:
        """Puts folders in that are on this machine, as PhotosOfAMoment has them, each in the place of one of its name.

        Args:
            go_on: is called before each; it may raise.
        """

    @property
    def orphans(self) -> str:
        """Where `set_aside` moves folders."""

    def set_aside(self, folder: str) -> None:
        """Moves a folder of nobody to where nobody looks for photos."""

    def renew(self, renewal_id: str, folder: str) -> int:
        """Encrypts a person's photos by the present key; returns how many were not. Raises OSError, CannotDecrypt.

        Args:
            renewal_id: as of an enrollment, for what may have to be staged.
        """


class RenewableUploads(UploadStore, Protocol):
    """Uploads that can be."""

    def renew(self) -> int:
        """Encrypts all photos by the present key; returns how many were not. Raises OSError, CannotDecrypt."""


class Stores(Protocol):
    """Opens them."""

    def photos(self, env: Env) -> KeptPhotos:
        """The image database."""

    def uploads(self, env: Env) -> RenewableUploads:
        """Photos that wait."""


@dataclass(frozen=True)
class FolderStores:
    """In the folders DB_PATH and UPLOAD_FOLDER."""

    limits: UploadLimits
    keyring: Keyring

    def photos(self, env: Env) -> PhotoFolders:
        """See Stores."""
        return PhotoFolders(env.db_path, self.keyring)

    def uploads(self, env: Env) -> UploadFolders:
        """See Stores."""
        return UploadFolders(env.upload_folder, self.limits, self.keyring)


def open_stores(place: BucketPlace | None, limits: UploadLimits, keyring: Keyring) -> Stores:
    """In the object store at that place, whose client is loaded only then; in folders where there is none.

    Raises:
        SystemExit: the client is not installed, or cannot use what the environment says of the store.
    """
    if place is None:
        return FolderStores(limits, keyring)
    try:
        from services.gateway.storage.objects.stores import ObjectStores
    except ImportError as err:
        raise SystemExit(f"PHOTOS_URI is set, which needs its client ({err}); run `make s3`") from err
    try:
        return ObjectStores(place, limits, keyring)
    except ValueError as err:
        raise SystemExit(f"PHOTOS_URI is set, and a setting of its client does not fit: {err}") from err
