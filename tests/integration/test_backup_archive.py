"""The file that a backup is: what goes in comes out, and what is damaged is told."""

import io
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from deploy.data.archive import BackupDamaged, reading_backup, writing_backup

LARGE = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files, of which one is larger than what goes through a pipe at once."""
    folder = tmp_path_factory.mktemp("backup")
    file = folder / "large.png"
    file.write_bytes(LARGE)
    with writing_backup(folder / "a.backup", "secret", {"made": "today"}) as writer:
        writer.add_bytes("settings.env", b"A=1\n")
        writer.add("photos/ann-1/faces/a.png", file)
        writer.add_bytes("photos/empty.png", b"")
    return folder / "a.backup"


@pytest.fixture
def backup(made: Path, tmp_path: Path) -> Path:
    """A copy, which a test may damage."""
    return Path(shutil.copy(made, tmp_path))


def deeply_nested() -> bytes:
    """A tar whose first member is no JSON that can be read."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("backup.json")
        member.size = 500_000
        tar.addfile(member, io.BytesIO(b"[" * member.size))
    return file.getvalue()


def read(path: Path, passphrase: str = "secret") -> dict[str, bytes]:
    with reading_backup(path, passphrase) as reader:
        assert reader.about["made"] == "today"
        return {name.as_posix(): file.read() for name, file in reader.files()}


def test_what_goes_in_comes_out(backup: Path):
    expected = {"settings.env": b"A=1\n", "photos/ann-1/faces/a.png": LARGE, "photos/empty.png": b""}
    assert read(backup) == expected
    assert backup.stat().st_mode & 0o777 == 0o600
    assert LARGE[:64] not in backup.read_bytes()


def test_it_is_read_by_tar_and_age_alone(backup: Path):
    with tarfile.open(backup) as outer:
        members = {member.name: outer.extractfile(member).read() for member in outer}
    assert list(members) == ["backup.json", "key.age", "files.tar.age"]
    key = pyrage.x25519.Identity.from_str(pyrage.passphrase.decrypt(members["key.age"], "secret").decode().strip())
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(members["files.tar.age"], [key]))) as files:
        assert files.extractfile("photos/ann-1/faces/a.png").read() == LARGE


def test_another_passphrase_does_not_fit(backup: Path):
    with pytest.raises(BackupDamaged, match="passphrase does not fit"):
        read(backup, "Secret")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-200_000],
        lambda data: data[: len(data) // 2],
        lambda data: data[:300_000] + b"x" + data[300_001:],
        lambda data: data[:-15_000] + b"x" + data[-14_999:],
        lambda data: data[:100],
        lambda data: b"",
        lambda data: b"%PDF-1.4 something else",
        lambda data: data.replace(b'"format": 1', b'"format": 2'),
        lambda data: data.replace(b'"format": 1', b'"format": x'),
        lambda data: deeply_nested(),
    ],
)
def test_what_is_damaged_is_refused(backup: Path, damage: Callable[[bytes], bytes]):
    backup.write_bytes(damage(backup.read_bytes()))
    with pytest.raises((BackupDamaged, OSError)):
        read(backup)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "photos/../../out"])
def test_no_file_comes_out_elsewhere(tmp_path: Path, name: str):
    with writing_backup(tmp_path / "a.backup", "secret", {"made": "today"}) as writer:
        writer.add_bytes(name, b"x")
    with pytest.raises(BackupDamaged):
        read(tmp_path / "a.backup")


def test_one_that_fails_leaves_nothing_and_keeps_the_earlier_one(backup: Path):
    before = backup.read_bytes()
    with (
        pytest.raises(FileNotFoundError),
        writing_backup(backup, "secret", {}) as writer,
    ):
        writer.add("photos/gone.png", backup.with_name("gone.png"))
    assert backup.read_bytes() == before
    assert sorted(path.name for path in backup.parent.iterdir()) == ["a.backup"]


def test_a_full_disk_is_told(tmp_path: Path):
    """Files of more than 100 kB cannot be written."""
    code = (
        "import sys; from pathlib import Path; from deploy.data.archive import writing_backup\n"
        "try:\n"
        "    with writing_backup(Path(sys.argv[1]), 'secret', {}) as writer:\n"
        "        for number in range(100): writer.add_bytes(str(number), bytes(100_000))\n"
        "except OSError as err: print('told', err)\n"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    command = [sys.executable, "-c", code, str(tmp_path / "a.backup")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limit, check=True)
    assert "told" in ended.stdout and list(tmp_path.iterdir()) == []


def test_two_at_once_to_one_file_are_each_whole(tmp_path: Path):
    path = tmp_path / "a.backup"
    with writing_backup(path, "secret", {"made": "today"}) as first:
        first.add_bytes("a", b"1")
        with writing_backup(path, "secret", {"made": "today"}) as second:
            second.add_bytes("b", LARGE)
        assert read(path) == {"b": LARGE}
    assert read(path) == {"a": b"1"} and list(tmp_path.iterdir()) == [path]
