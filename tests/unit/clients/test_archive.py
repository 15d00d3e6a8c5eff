"""Archives of people: what was written is read, and nothing else is taken for it."""

import io
import json
import tarfile
from pathlib import Path

import pyrage
import pytest

from reco_client.archive import ArchiveReader, ArchiveWriter

ANN, BOB = ({"person": {"person_id": f"RECO_ID_{number}"}, "photos": [{"image": "QUJD"}]} for number in (1, 2))


def write(path: Path, passphrase: str = "") -> Path:
    with ArchiveWriter(path, passphrase) as archive:
        archive.add([ANN])
        archive.add([ANN, BOB])
    assert archive.people == 2
    return path


def pages(path: Path, passphrase: str = "") -> list[list[dict[str, object]]]:
    with ArchiveReader(path, passphrase) as archive:
        return list(archive.pages())


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_what_was_written_is_read(tmp_path: Path, passphrase: str):
    path = write(tmp_path / "a.tar", passphrase)
    assert pages(path, passphrase) == [[ANN], [ANN, BOB]]
    assert path.stat().st_mode & 0o777 == 0o600
    assert (b"RECO_ID_1" in path.read_bytes()) is not bool(passphrase)
    assert [one.name for one in tmp_path.iterdir()] == ["a.tar"]


def test_without_this_module_tar_and_age_read_it(tmp_path: Path):
    path = write(tmp_path / "a.tar", "correct horse")
    with tarfile.open(path) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    key = pyrage.x25519.Identity.from_str(
        pyrage.passphrase.decrypt(members["key.age"], "correct horse").decode().strip()
    )
    assert json.loads(pyrage.decrypt(members["000001.json.age"], [key])) == {"people": [ANN]}


def test_only_the_passphrase_opens_it(tmp_path: Path):
    path = write(tmp_path / "a.tar", "correct horse")
    with pytest.raises(ValueError, match="does not fit"):
        pages(path, "another")
    with pytest.raises(ValueError, match="closed by a passphrase"):
        pages(path)


def test_what_failed_leaves_nothing_and_what_was_there(tmp_path: Path):
    path = write(tmp_path / "a.tar")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), ArchiveWriter(path) as archive:
        archive.add([BOB])
        raise RuntimeError
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_pages_that_are_missing_changed_or_swapped_are_noticed(tmp_path: Path, passphrase: str):
    path = write(tmp_path / "a.tar", passphrase)
    with tarfile.open(path) as archive:
        members = [(one, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]
    first = next(number for number, (one, _) in enumerate(members) if one.name.startswith("000001"))
    for left in (
        members[:first] + members[first + 1 :],
        members[:-1],
        [*members[:first], members[first + 1], members[first], *members[first + 2 :]],
        [*members[:first], (members[first][0], members[first][1][:-1]), *members[first + 1 :]],
    ):
        other = tmp_path / "other.tar"
        with tarfile.open(other, "w") as archive:
            for one, data in left:
                one.size = len(data)
                archive.addfile(one, io.BytesIO(data))
        with pytest.raises(ValueError, match="damaged, or was cut off"):
            pages(other, passphrase)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(path.read_bytes()[:2500])
    with pytest.raises(ValueError):
        pages(cut, passphrase)


@pytest.mark.parametrize("content", [b"", b"x" * 2000, b"PK\3\4"])
def test_another_file_is_none(tmp_path: Path, content: bytes):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no archive"):
        pages(path)
