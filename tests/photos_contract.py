"""What an image database promises, wherever it is: PhotoFolders, PhotoObjects, FakePhotos."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.common.encryption import CannotDecrypt, Keyring
from services.gateway.storage.stores import KeptPhotos
from services.gateway.storage.types import FacePhoto, PhotoStore

LANDMARKS = ((1.5, 2.0), (3.0, 4.0), (5.25, 6.0), (7.0, 8.0), (9.0, 10.125))

#: Opens the image database of the test, with these keys.
OpenPhotos = Callable[[Keyring], KeptPhotos]


def picture() -> bytes:
    """A PNG file."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


PNG = picture()


class PhotosContract:
    """Tests of any."""

    def test_photos_are_staged_then_published_then_removed(self, photos: PhotoStore) -> None:
        made = [FacePhoto("a.png", False, PNG, LANDMARKS), FacePhoto("b.png", True, PNG, None)]
        photos.stage("000-1", "x-A", made)
        assert photos.staged() == ["000-1"] and not photos.has("x-A")
        for _ in range(2):  # publishing twice is publishing once
            photos.publish("000-1", "x-A")
        assert photos.has("x-A") and photos.names("x-A") == {"a.png": False, "b.png": True}
        assert list(photos.read("x-A")) == made and photos.staged() == []
        for _ in range(2):
            photos.remove("x-A", ["a.png"])
        assert list(photos.names("x-A")) == ["b.png"]
        with pytest.raises(FileNotFoundError):
            photos.read_one("x-A", "a.png", False)
        photos.remove("x-A", ["b.png"])
        assert not photos.has("x-A") and photos.names("x-A") == {}

    def test_what_is_staged_can_be_dropped(self, photos: PhotoStore) -> None:
        photos.stage("000-1", "x-A", [FacePhoto("a.png", False, PNG, LANDMARKS)])
        for _ in range(2):
            photos.unstage("000-1")
        photos.publish("000-1", "x-A")
        assert photos.names("x-A") == {} and photos.staged() == []

    def test_one_is_added_to_those_that_are_there(self, photos: PhotoStore) -> None:
        for number, name in enumerate(("b.png", "a.png")):
            photos.stage(f"000-{number}", "x-A", [FacePhoto(name, False, PNG, None)])
            photos.publish(f"000-{number}", "x-A")
        assert set(photos.names("x-A")) == {"a.png", "b.png"}

    def test_a_person_is_erased_and_no_other(self, photos: PhotoStore) -> None:
        folders = ["x-A", "x-A1", "y-x-A", "é x\\?#%+&-A"]
        for number, folder in enumerate(folders):
            photos.stage(f"000-{number}", folder, [FacePhoto("a.png", False, PNG, None)])
            photos.publish(f"000-{number}", folder)
        assert set(photos.folders_ending("-A")) == {"x-A", "y-x-A", "é x\\?#%+&-A"}
        for _ in range(2):
            assert photos.erase("x-A") == []
        assert [photos.has(folder) for folder in folders] == [False, True, True, True]
        for folder in ("", ".", "..", "x", "x-", ".staging", "staging"):
            assert not photos.has(folder)


class SealedPhotosContract(PhotosContract):
    """Tests of those that are stored, and may be encrypted."""

    @pytest.fixture
    def photos(self, open_photos: OpenPhotos) -> PhotoStore:
        return open_photos(Keyring())

    def test_photos_are_encrypted_and_change_their_key(
        self, open_photos: OpenPhotos, stored: Callable[[], list[bytes]]
    ) -> None:
        keys = [bytes(32)]
        made = [FacePhoto("a.png", False, PNG, LANDMARKS), FacePhoto("b.png", True, PNG, None)]
        plain, photos = open_photos(Keyring()), open_photos(Keyring(lambda: tuple(keys)))
        plain.stage("000-1", "x-A", made[:1])
        plain.publish("000-1", "x-A")
        photos.stage("000-2", "x-A", made[1:])
        photos.publish("000-2", "x-A")
        assert list(photos.read("x-A")) == made, "also what was stored before there was a key"
        assert photos.renew("000-3", "x-A") == 1
        assert stored() and not [data for data in stored() if PNG[:50] in data]
        keys.insert(0, bytes(range(32)))
        assert (photos.renew("000-4", "x-A"), photos.renew("000-5", "x-A")) == (2, 0)
        del keys[1]
        assert list(photos.read("x-A")) == made and photos.staged() == []

    def test_all_are_kept_as_they_are_at_a_moment_and_taken_in(self, open_photos: OpenPhotos, tmp_path: Path) -> None:
        photos, saved = open_photos(Keyring()), tmp_path / "saved"
        for folder in ("x-A", "y-B"):
            photos.stage("000-1", folder, [FacePhoto(name, name == "b.png", PNG, None) for name in ("a.png", "b.png")])
            photos.publish("000-1", folder)
        for enrollment_id in ("000-2", "000-3"):
            photos.stage(enrollment_id, "x-A", [FacePhoto("c.png", False, PNG, None)])
        with photos.linked() as linked:
            linked.prepare()
            photos.remove("x-A", ["a.png"])
            photos.stage("000-4", "z-C", [FacePhoto("a.png", False, PNG, None)])
            photos.publish("000-4", "z-C")
            linked.take(["000-2"])
            photos.erase("y-B")
            names = [name for name, _ in linked.files()]
            for name, path in linked.files():
                (saved / name).parent.mkdir(parents=True, exist_ok=True)
                (saved / name).write_bytes(path.read_bytes())
        x, y, z = "x-A/augmented_imgs/b.png", ["y-B/augmented_imgs/b.png", "y-B/faces/a.png"], "z-C/faces/a.png"
        assert names == [".staging/000-2/faces/c.png", x, *y, z]
        for enrollment_id in photos.staged():
            photos.unstage(enrollment_id)
        calls = list[None]()
        photos.take_in(saved, lambda: calls.append(None))
        assert len(calls) == 4 and photos.staged() == ["000-2"]
        assert photos.names("x-A") == {"b.png": True} and photos.names("y-B") == {"a.png": False, "b.png": True}
        photos.publish("000-2", "x-A")
        assert list(photos.names("x-A")) == ["c.png", "b.png"] and len(list(photos.read("x-A"))) == 2

    def test_a_folder_of_nobody_is_set_aside(self, open_photos: OpenPhotos, stored: Callable[[], list[bytes]]) -> None:
        photos = open_photos(Keyring())
        photos.stage("000-1", "x-A", [FacePhoto("a.png", False, PNG, None)])
        photos.publish("000-1", "x-A")
        before = stored()
        photos.set_aside("x-A")
        assert not photos.has("x-A") and stored() == before and "orphans" in photos.orphans

    def test_a_sealed_photo_is_one_persons(self, open_photos: OpenPhotos) -> None:
        photos = open_photos(Keyring(lambda: (bytes(32),)))
        photos.stage("000-1", "x-A", [FacePhoto("a.png", False, PNG, None)])
        photos.publish("000-1", "x-B")
        with pytest.raises(CannotDecrypt):
            list(photos.read("x-B"))
