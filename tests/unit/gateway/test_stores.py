"""The gateway's folders: uploads, photos, locks, and the log file."""

import logging
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.gateway.errors import Busy, PhotoMissing, UploadEmpty, UploadUnknown
from services.gateway.storage import log_file as logs
from services.gateway.storage.locks import person_lock
from services.gateway.storage.photos import FacePhoto, ImageDatabase
from services.gateway.storage.uploads import MANIFEST, Uploads

LANDMARKS = ((1.5, 2.0), (3.0, 4.0), (5.25, 6.0), (7.0, 8.0), (9.0, 10.125))


@pytest.fixture
def png() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_uploads_are_opened_as_they_were_stored(tmp_path: Path):
    uploads = Uploads(tmp_path)
    made = uploads.create("A-B", [(".jpg", b"one"), (".png", b"two")])
    assert uploads.open(made.upload_id) == made
    assert made.person_id == "A-B" and made.token.isdigit()
    assert [path.read_bytes() for path in made.photos] == [b"one", b"two"]


def test_an_upload_without_a_list_is_what_is_in_its_folder(tmp_path: Path):
    (tmp_path / "A-1").mkdir()
    with pytest.raises(UploadEmpty):
        Uploads(tmp_path).open("A-1")
    (tmp_path / "A-1" / "x.jpg").write_bytes(b"x")
    assert [path.name for path in Uploads(tmp_path).open("A-1").photos] == ["x.jpg"]


def test_a_photo_that_is_gone(tmp_path: Path):
    uploads = Uploads(tmp_path)
    made = uploads.create("A", [(".jpg", b"one")])
    made.photos[0].unlink()
    with pytest.raises(PhotoMissing):
        uploads.open(made.upload_id)
    assert (tmp_path / made.upload_id / MANIFEST).exists()


@pytest.mark.parametrize("upload_id", ["", "A", "A-", "-1", "A-1", "../A-1", "A-x", "A-1/..", "A-٣"])
def test_unknown_uploads(tmp_path: Path, upload_id: str):
    (tmp_path / "inner").mkdir()
    (tmp_path / "A-9").mkdir()
    with pytest.raises(UploadUnknown):
        Uploads(tmp_path / "inner").open(upload_id)


def test_a_link_is_no_upload(tmp_path: Path):
    (tmp_path / "A-1").symlink_to("/etc")
    with pytest.raises(UploadUnknown):
        Uploads(tmp_path).open("A-1")


def test_photos_carry_their_landmarks_and_stay_pictures(tmp_path: Path, png: bytes):
    images = ImageDatabase(tmp_path)
    photos = [FacePhoto("a.png", False, png, LANDMARKS), FacePhoto("b.png", True, png, None)]
    images.stage("000-1", photos)
    assert images.staged() == ["000-1"] and not images.has("x-A")
    for _ in range(2):  # publishing twice is publishing once
        images.publish("000-1", "x-A")
    assert list(images.read("x-A")) == photos
    stored = cv2.imread(str(tmp_path / "x-A" / "faces" / "a.png"))
    assert np.array_equal(stored, cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    images.remove("x-A", ["a.png", "b.png"])
    assert not (tmp_path / "x-A").exists() and not images.staged()


@pytest.mark.parametrize("path", ["x-A", "/srv/db/x-A", "I:\\db\\x-A", "../../x-A"])
def test_a_stored_path_names_a_folder_of_the_database(tmp_path: Path, path: str):
    (tmp_path / "x-A").mkdir()
    images = ImageDatabase(tmp_path)
    assert images.folder_of(path) == "x-A" and images.has("x-A")


@pytest.mark.parametrize("path", ["", ".", "..", "/", "\\", ".staging"])
def test_a_stored_path_cannot_leave_the_database(tmp_path: Path, path: str):
    (tmp_path / "db" / ".staging").mkdir(parents=True)
    images = ImageDatabase(tmp_path / "db")
    assert not images.has(images.folder_of(path))


def test_a_person_is_locked_for_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.gateway.storage.locks.seconds_left", lambda: 0.5)
    with person_lock(tmp_path, "A"):
        with pytest.raises(Busy), person_lock(tmp_path, "A"):
            pass
        with person_lock(tmp_path, "another"):
            pass
    with person_lock(tmp_path, "A"):
        pass


def test_the_log_file_is_rotated_and_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 300)
    monkeypatch.setattr(logs, "KEPT_LOGS", 50)
    path = tmp_path / "deep" / "reco.log"
    handlers = [logs.SharedFileHandler() for _ in range(2)]  # as two processes would have
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
