"""Storage on real folders and SQLite; what the pipeline relies on, on the fakes of its other tests too."""

import errno
import fcntl
import logging
import multiprocessing
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.gateway.errors import PhotoMissing, StorageFull, StorageRefused, UploadEmpty, UploadUnknown
from services.gateway.storage.limits import UploadLimits, parse_duration, parse_size
from services.gateway.storage.locks import LockFiles
from services.gateway.storage.log_file import SharedFileHandler
from services.gateway.storage.photos import PhotoFolders
from services.gateway.storage.types import FacePhoto, PersonLocks, PersonRecord, PhotoStore, UploadStore
from services.gateway.storage.uploads import MANIFEST, UploadFolders
from tests.fake_storage import FakeLocks, FakePhotos, FakeUploads
from tests.fakes import Steps
from tests.locks_contract import LocksContract
from tests.photos_contract import LANDMARKS, OpenPhotos, PhotosContract, SealedPhotosContract, picture
from tests.uploads_contract import UNKNOWN, OpenUploads, SealedUploadsContract, UploadsContract


class TestUploadFolders(SealedUploadsContract):
    """Folders."""

    @pytest.fixture
    def open_uploads(self, tmp_path: Path) -> OpenUploads:
        return partial(UploadFolders, tmp_path)

    @pytest.fixture
    def stored(self, tmp_path: Path) -> Callable[[], list[bytes]]:
        return lambda: [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]


class TestFakeUploads(UploadsContract):
    """In memory."""

    @pytest.fixture
    def uploads(self) -> UploadStore:
        return FakeUploads(Steps())


class TestPhotoFolders(SealedPhotosContract):
    """Folders."""

    @pytest.fixture
    def open_photos(self, tmp_path: Path) -> OpenPhotos:
        return lambda keyring: PhotoFolders(make_folder(tmp_path / "db"), keyring)

    @pytest.fixture
    def stored(self, tmp_path: Path) -> Callable[[], list[bytes]]:
        return lambda: [path.read_bytes() for path in (tmp_path / "db").rglob("*") if path.is_file()]


class TestFakePhotos(PhotosContract):
    """In memory."""

    @pytest.fixture
    def photos(self) -> PhotoStore:
        return FakePhotos(Steps())


def make_folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="module")
def png() -> bytes:
    return picture()


# Uploads


def test_an_upload_of_an_earlier_version_has_a_list_of_names(tmp_path: Path):
    uploads = UploadFolders(tmp_path)
    made = uploads.create("A", [(".jpg", b"one"), (".jpg", b"two")])
    (tmp_path / made.upload_id / MANIFEST).write_text('["001.jpg", "002.jpg"]')
    assert uploads.open(made.upload_id) == made


def test_an_upload_of_a_dead_process_is_deleted_and_one_of_a_living_process_is_not(tmp_path: Path):
    """The process is killed in the middle of it."""
    uploads, reached = UploadFolders(tmp_path), tmp_path / "reached"
    writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(tmp_path, reached))
    writer.start()
    while not reached.exists():
        time.sleep(0.01)
    (unfinished,) = tmp_path.glob(".unfinished-*")
    assert list(unfinished.glob("A-*/001.jpg"))
    uploads.remove_unfinished()
    assert uploads.erase("A") == [] and unfinished.exists()
    writer.kill()
    writer.join()
    assert uploads.erase("B") == [] and unfinished.exists()
    assert uploads.erase("A") == [] and not unfinished.exists()


def test_where_files_cannot_be_locked_what_is_old_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    uploads = UploadFolders(tmp_path)
    made = uploads.create("A", [(".jpg", b"one")])
    assert uploads.read(uploads.open(made.upload_id), "001.jpg") == b"one"
    old, new = tmp_path / ".unfinished-1", tmp_path / ".unfinished-2"
    for folder in (old, new):
        (folder / "B-1").mkdir(parents=True)
        (folder / ".lock").touch()
    os.utime(old, (1, 1))
    uploads.remove_unfinished()
    assert not old.exists() and new.exists()


def _write_for_ever(folder: Path, reached: Path) -> None:
    class Endless(Sequence[tuple[str, bytes]]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            if index > 1:
                raise IndexError
            if index == 1 and list(folder.glob(".unfinished-*/A-*/001.jpg")):
                reached.touch()
                time.sleep(60)
            return ".jpg", b"x"

    UploadFolders(folder).create("A", Endless())


def test_old_uploads_are_deleted_enrolled_or_not(tmp_path: Path):
    uploads = UploadFolders(tmp_path, UploadLimits(ttl=100))
    old, used, new = (uploads.create("A", [(".jpg", b"x")]).upload_id for _ in range(3))
    uploads.consume(used)
    for name in (old, f"{used}_UPLOADED_TO_DB"):
        os.utime(tmp_path / name, (time.time() - 101,) * 2)
    (tmp_path / "not an upload").mkdir()
    os.utime(tmp_path / "not an upload", (1, 1))
    uploads.remove_expired()
    assert sorted(path.name for path in tmp_path.iterdir()) == [new, "not an upload"]


def test_uploads_are_refused_where_the_disk_is_nearly_full(tmp_path: Path):
    with pytest.raises(StorageFull):
        UploadFolders(tmp_path, UploadLimits(reserve=1 << 60)).create("A", [(".jpg", b"x")])
    assert not list(tmp_path.iterdir())


def test_limits_are_numbers_with_units():
    assert [parse_duration(text) for text in ("0", "90", "45s", "30m", "12h", "1d")] == [0, 90, 45, 1800, 43200, 86400]
    assert [parse_size(text) for text in ("0", "10", "1k", "64M", "2 G")] == [0, 10, 1024, 64 << 20, 2 << 30]
    for text in ("", "-1", "1w", "d", "1.5h", "٣"):
        with pytest.raises(ValueError, match="whole number"):
            parse_duration(text)


def test_what_is_left_before_it_had_a_lock_is_deleted_once_it_is_old(tmp_path: Path):
    old, new = tmp_path / ".unfinished-1", tmp_path / ".unfinished-2"
    for folder in (old, new):
        folder.mkdir()
        (folder / "001.jpg").write_bytes(b"as earlier versions have left it")
    os.utime(old, (1, 1))
    UploadFolders(tmp_path).remove_unfinished()
    assert not old.exists() and new.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file that its owner cannot delete")
def test_what_cannot_be_deleted_is_named(tmp_path: Path, png: bytes):
    photos, uploads = PhotoFolders(tmp_path), UploadFolders(tmp_path)
    photos.stage("000-1", "x-A", [FacePhoto(name, False, png, None) for name in ("a.png", "b.png")])
    photos.publish("000-1", "x-A")
    upload = uploads.create("A", [(".jpg", b"x")])
    stuck = [tmp_path / "x-A" / "faces" / "a.png", tmp_path / upload.upload_id / "001.jpg"]
    if subprocess.run(["chattr", "+i", *stuck], check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        assert [name.partition(" (")[0] for name in photos.erase("x-A")] == ["x-A/faces/a.png"]
        assert [name.partition(" (")[0] for name in uploads.erase("A")] == [f"{upload.upload_id}/001.jpg"]
    finally:
        subprocess.run(["chattr", "-i", *stuck], check=True)
    assert not stuck[0].with_name("b.png").exists()
    assert photos.erase("x-A") == uploads.erase("A") == [] and not list(tmp_path.glob("*A*"))


@pytest.mark.parametrize("folder", ["", ".", "..", ".staging", "../other", "/"])
def test_no_folder_outside_is_erased(tmp_path: Path, folder: str):
    for path in (tmp_path / "db" / ".staging", tmp_path / "other"):
        path.mkdir(parents=True)
    PhotoFolders(tmp_path / "db").erase(folder)
    assert (tmp_path / "db" / ".staging").is_dir() and (tmp_path / "other").is_dir()


def test_an_upload_without_a_list_is_what_is_in_its_folder(tmp_path: Path):
    (tmp_path / "A-1").mkdir()
    with pytest.raises(UploadEmpty):
        UploadFolders(tmp_path).open("A-1")
    (tmp_path / "A-1" / "x.jpg").write_bytes(b"x")
    assert UploadFolders(tmp_path).open("A-1").photos == ("x.jpg",)


def test_a_photo_that_is_gone(tmp_path: Path):
    uploads = UploadFolders(tmp_path)
    made = uploads.create("A", [(".jpg", b"one")])
    (tmp_path / made.upload_id / made.photos[0]).unlink()
    with pytest.raises(PhotoMissing):
        uploads.open(made.upload_id)
    with pytest.raises(PhotoMissing):
        uploads.read(made, made.photos[0])
    assert (tmp_path / made.upload_id / MANIFEST).exists()


@pytest.mark.parametrize("upload_id", UNKNOWN, ids=ascii)
def test_unknown_uploads(tmp_path: Path, upload_id: str):
    (tmp_path / "inner").mkdir()
    (tmp_path / "A-1").mkdir()
    with pytest.raises(UploadUnknown):
        UploadFolders(tmp_path / "inner").open(upload_id)


def test_a_link_is_no_upload(tmp_path: Path):
    (tmp_path / "A-1").symlink_to("/etc")
    with pytest.raises(UploadUnknown):
        UploadFolders(tmp_path).open("A-1")


def test_an_upload_that_cannot_be_stored_leaves_nothing(tmp_path: Path):
    with pytest.raises(StorageRefused):
        UploadFolders(tmp_path / "absent").create("A", [(".jpg", b"x")])
    with pytest.raises(StorageRefused):
        UploadFolders(tmp_path).create("A", [("/.jpg", b"x")])
    assert not list(tmp_path.iterdir())


# Photos


def test_a_photo_with_landmarks_stays_a_picture(tmp_path: Path, png: bytes):
    photos = PhotoFolders(tmp_path)
    photos.stage("000-1", "x-A", [FacePhoto("a.png", False, png, LANDMARKS)])
    photos.publish("000-1", "x-A")
    stored = cv2.imread(str(tmp_path / "x-A" / "faces" / "a.png"))
    assert np.array_equal(stored, cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("path", ["x-A", "/srv/db/x-A", "I:\\db\\x-A", "../../x-A"])
def test_a_row_names_a_folder_of_the_database(tmp_path: Path, path: str):
    (tmp_path / "x-A").mkdir()
    folder = PersonRecord(1, "A", "x", path).folder
    assert folder == "x-A" and PhotoFolders(tmp_path).has(folder)


@pytest.mark.parametrize("path", ["", ".", "..", "/", "\\", ".staging"])
def test_a_row_cannot_name_a_folder_outside(tmp_path: Path, path: str):
    (tmp_path / "db" / ".staging").mkdir(parents=True)
    assert not PhotoFolders(tmp_path / "db").has(PersonRecord(1, "A", "x", path).folder)


def test_caches_of_the_original_are_pickles(tmp_path: Path):
    for name in ("a.pkl", "b.pkl", "c.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.pkl").mkdir()
    photos = PhotoFolders(tmp_path)
    assert photos.cache_files() == ["a.pkl", "b.pkl"]
    assert [photos.delete_cache("a.pkl") for _ in range(2)] == [True, False]


# Locks


class TestLockFiles(LocksContract):
    """In one folder; see tests/integration/test_locks.py for those of a database."""

    @pytest.fixture
    def gateways(self, tmp_path: Path) -> tuple[PersonLocks, PersonLocks]:
        return LockFiles(tmp_path), LockFiles(tmp_path)


class TestFakeLocks(LocksContract):
    """Of one process."""

    @pytest.fixture
    def gateways(self) -> tuple[PersonLocks, PersonLocks]:
        locks = FakeLocks()
        return locks, locks


def test_a_lock_that_cannot_be_made(tmp_path: Path):
    with pytest.raises(StorageRefused), LockFiles(tmp_path / "absent").hold("A"):
        pass


# The log file


def test_the_log_file_is_rotated_and_loses_no_line(tmp_path: Path):
    path = tmp_path / "deep" / "reco.log"
    handlers = [SharedFileHandler(max_bytes=300, kept=50) for _ in range(2)]  # as two processes would have
    for handler in handlers:
        handler.follow(path)

    def write(handler: logging.Handler, number: int) -> None:
        for line in range(50):
            handler.emit(logging.LogRecord("reco", logging.INFO, "", 0, f"line {number}-{line}\nforged", None, None))

    threads = [threading.Thread(target=write, args=(handler, number)) for number, handler in enumerate(handlers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = list(path.parent.iterdir())
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len(files) > 1 and len(lines) == 100 == len(set(lines))
    assert all("\\nforged" in line for line in lines)
