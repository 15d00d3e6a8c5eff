"""Files that are made once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.common.cache import make_once, put


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_what_is_there_is_not_made_again(tmp_path):
    made = []

    def make(draft: Path) -> None:
        made.append(draft)
        draft.write_text("content")

    target = tmp_path / "deep" / "net.onnx"
    assert make_once(target, make).read_text() == "content"
    assert make_once(target, make) == target
    assert len(made) == 1 and made[0].name == "net.onnx" and made[0].parent != target.parent
    assert visible(target.parent) == ["net.onnx"]
    assert target.stat().st_mode & 0o777 == 0o644


def test_what_is_made_beside_it_is_there_before_it(tmp_path):
    target, seen = tmp_path / "net.onnx", []

    def make(draft: Path) -> None:
        draft.write_text("graph")
        draft.with_suffix(".bin").write_text("weights")
        seen.append(visible(tmp_path))

    make_once(target, make)
    assert seen == [[]] and visible(tmp_path) == ["net.bin", "net.onnx"]


def test_nothing_is_left_of_a_failure(tmp_path):
    def make(draft: Path) -> None:
        draft.write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        make_once(tmp_path / "net.onnx", make)
    assert visible(tmp_path) == []
    assert make_once(tmp_path / "net.onnx", lambda draft: draft.touch()).is_file()


def test_many_at_once_make_it_once(tmp_path):
    made, together = [], threading.Barrier(8)

    def make(draft: Path) -> None:
        made.append(draft)
        draft.touch()

    def ask(_: int) -> Path:
        together.wait()
        return make_once(tmp_path / "net.onnx", make)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {tmp_path / "net.onnx"}
    assert len(made) == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OSError):
        make_once(tmp_path / "cache" / "net.onnx", Path.touch)


def test_put_replaces_a_whole_file(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    put(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new" and visible(tmp_path) == ["old"]
