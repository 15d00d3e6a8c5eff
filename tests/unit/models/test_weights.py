"""Weight files: fetched, continued, checked and kept, against a real http server on this machine."""

import errno
import fcntl
import hashlib
import threading
import time
import types
from pathlib import Path

import pytest

from deploy.models import download as downloading
from deploy.models.weights import WeightFile, WeightStore
from services.common.errors import ModelUnavailable
from tests.fileserver import FileServer

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with FileServer(CONTENT) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def weight_at(url, sha256=SHA256, name="net.bin"):
    return WeightFile(name, url, sha256, "Apache-2.0", "this test")


def names(folder):
    """The files in the folder, but for lock files."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_fetches_checks_and_keeps(server, tmp_path):
    store = WeightStore(tmp_path / "deep" / "models")
    weight = weight_at(server.url + "/net.bin")
    assert store.get(weight).read_bytes() == CONTENT
    assert store.get(weight) == tmp_path / "deep" / "models" / "net.bin"
    assert WeightStore(tmp_path / "deep" / "models").get(weight).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert names(tmp_path / "deep" / "models") == ["net.bin"]


def test_continues_within_one_try(server, tmp_path):
    server.cuts = [300_000]
    assert WeightStore(tmp_path).get(weight_at(server.url)).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-"]


def test_continues_at_the_next_try(server, tmp_path):
    server.cuts = [100_000] * downloading.TRIES
    with pytest.raises(ModelUnavailable, match="ended after 300000 of 1048576 bytes"):
        WeightStore(tmp_path).get(weight_at(server.url))
    assert not (tmp_path / "net.bin").exists()
    assert WeightStore(tmp_path).get(weight_at(server.url)).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=300000-"
    assert names(tmp_path) == ["net.bin"]


@pytest.mark.parametrize("etag", ['"two"', "", 'W/"weak"'])
def test_does_not_continue_another_file(server, tmp_path, etag):
    server.cuts = [100_000] * downloading.TRIES
    with pytest.raises(ModelUnavailable):
        WeightStore(tmp_path).get(weight_at(server.url, sha256=None))
    server.etag, server.content = etag, CONTENT[::-1]
    assert WeightStore(tmp_path).get(weight_at(server.url, sha256=None)).read_bytes() == CONTENT[::-1]


def test_a_wrong_hash_leaves_nothing(server, tmp_path):
    server.content = b"something else"
    with pytest.raises(ModelUnavailable, match=f"not {SHA256}"):
        WeightStore(tmp_path).get(weight_at(server.url))
    assert names(tmp_path) == []


def test_says_what_to_do(server, tmp_path):
    server.status = 404
    with pytest.raises(ModelUnavailable) as caught:
        WeightStore(tmp_path).get(weight_at(server.url + "/x"))
    message = str(caught.value)
    for part in ("net.bin", server.url + "/x", "404", str(tmp_path / "net.bin"), SHA256, "RECO_MIRROR"):
        assert part in message


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "ftp://host/x", "file:///etc/passwd", "http://[", ""])
def test_an_address_that_gives_nothing(tmp_path, url):
    with pytest.raises(ModelUnavailable, match="net.bin could not be had"):
        WeightStore(tmp_path).get(weight_at(url))


def test_a_web_page_is_no_weight_file(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(ModelUnavailable, match="web page"):
        WeightStore(tmp_path).get(weight_at(server.url, sha256=None))
    assert names(tmp_path) == []


def test_mirror_folder_comes_first_and_is_copied(server, tmp_path):
    mirrored = tmp_path / "mirror" / "a [1]" / "net.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(CONTENT)
    (tmp_path / "mirror" / "net.bin").write_bytes(b"an older one of the same name")
    path = WeightStore(tmp_path / "models", str(tmp_path / "mirror")).get(weight_at(server.url))
    assert path == tmp_path / "models" / "net.bin"
    assert path.read_bytes() == CONTENT
    assert not server.requests
    assert names(tmp_path / "models") == ["net.bin"]


def test_a_file_address_is_copied(tmp_path):
    (tmp_path / "a b.bin").write_bytes(CONTENT)
    weight = weight_at((tmp_path / "a b.bin").as_uri())
    assert WeightStore(tmp_path / "models").get(weight).read_bytes() == CONTENT


def test_mirror_address_comes_first(server, tmp_path):
    weight = weight_at("http://127.0.0.1:1/x", name="my net.bin")
    assert WeightStore(tmp_path, server.url + "/weights/").get(weight).read_bytes() == CONTENT
    assert server.requests == [("/weights/my%20net.bin", None)]


def test_an_unknown_hash_is_recorded_and_holds(server, tmp_path):
    weight = weight_at(server.url, sha256=None)
    path = WeightStore(tmp_path).get(weight)
    assert (tmp_path / "net.bin.sha256").read_text() == f"{SHA256}  net.bin\n"
    path.write_bytes(b"tampered with")
    with pytest.raises(ModelUnavailable, match="Remove it"):
        WeightStore(tmp_path).get(weight)
    path.unlink()
    server.content = b"changed upstream"
    with pytest.raises(ModelUnavailable, match=f"not {SHA256}"):
        WeightStore(tmp_path).get(weight)


def test_a_file_put_there_by_hand_is_checked_and_kept(tmp_path):
    path = tmp_path / "net.bin"
    path.write_bytes(b"half a fi")
    store = WeightStore(tmp_path)
    with pytest.raises(ModelUnavailable, match="Remove it"):
        store.get(weight_at(""))
    assert path.read_bytes() == b"half a fi"
    path.write_bytes(CONTENT)
    assert store.get(weight_at("")) == path


def test_a_file_still_being_copied_has_no_hash_recorded(tmp_path):
    path = tmp_path / "net.bin"
    path.write_bytes(b"half a fi")
    weight = weight_at("", sha256=None)
    assert WeightStore(tmp_path).get(weight) == path
    assert names(tmp_path) == ["net.bin"]


def test_a_full_disk_is_said_and_not_kept_full(server, tmp_path, monkeypatch):
    real_open = Path.open

    def full(path, mode="r", *rest, **named):
        file = real_open(path, mode, *rest, **named)
        return FullDisk(file) if "a" in mode else file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ModelUnavailable, match="No space left"):
        WeightStore(tmp_path).get(weight_at(server.url))
    assert names(tmp_path) == []


class FullDisk:
    """A file that takes one piece and no more."""

    def __init__(self, file):
        self._file, self._written = file, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, data):
        if self._written:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._written = True
        self._file.write(data)


def test_a_disk_that_would_be_filled_is_left_alone(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(ModelUnavailable, match="the disk has 1000 free"):
        WeightStore(tmp_path).get(weight_at(server.url))


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelUnavailable, match="Put it by hand"):
        WeightStore(tmp_path / "models").get(weight_at(server.url))


def test_many_at_once_fetch_once(server, tmp_path):
    found = []
    stores = [WeightStore(tmp_path) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda s=s: found.append(s.get(weight_at(server.url)).read_bytes())) for s in stores * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 8
    assert len(server.requests) == 1


def test_waits_for_another_process(server, tmp_path):
    with (tmp_path / ".net.bin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = []
        thread = threading.Thread(target=lambda: found.append(WeightStore(tmp_path).get(weight_at(server.url))))
        thread.start()
        time.sleep(0.1)
        assert not found
        (tmp_path / "net.bin").write_bytes(CONTENT)
    thread.join()
    assert found == [tmp_path / "net.bin"]
    assert not server.requests


def test_google_drive_goes_through_gdown(tmp_path, monkeypatch):
    def fetch(url, output, quiet, timeout):
        assert "uc?id=1" in url
        Path(output).write_bytes(CONTENT)
        return output

    monkeypatch.setattr("gdown.download", fetch)
    assert WeightStore(tmp_path).get(weight_at("https://drive.google.com/uc?id=1")).read_bytes() == CONTENT


def test_google_drive_by_the_real_gdown_that_cannot_reach_it(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    weight = weight_at("https://drive.google.com/uc?id=1", sha256=None, name="liveness_best.h5")
    with pytest.raises(ModelUnavailable, match="liveness_best.h5 could not be had: https://drive.google.com"):
        WeightStore(tmp_path).get(weight)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/etc/passwd"])
def test_a_name_with_a_folder_is_refused(name):
    with pytest.raises(ValueError, match="no file name"):
        weight_at("", name=name)
