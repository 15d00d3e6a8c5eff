"""The console's files, as they are served."""

import re
from pathlib import Path

import pytest
from google.api import httpbody_pb2
from reco.gateway.v1 import console_pb2

from services.gateway.api.console import FOLDER, ConsoleServicer
from services.gateway.errors import FileUnknown
from tests.unit.gateway.fake_gateway import CONTEXT

MOST_SCRIPT = 200_000  # bytes, of all scripts


def served(console: ConsoleServicer, name: str) -> httpbody_pb2.HttpBody:
    return console.GetFile(console_pb2.GetFileRequest(name=name), CONTEXT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "console" / "pages").mkdir(parents=True)
    (tmp_path / "secret.js").write_text("secret")
    for name in ("index.html", "main.js", "pages/try.js", "notes.txt"):
        (tmp_path / "console" / name).write_text(name)
    return tmp_path / "console"


def test_files_are_answered_by_their_names_with_their_kinds(folder: Path):
    console = ConsoleServicer(folder)
    assert served(console, "") == served(console, "index.html")
    assert served(console, "").content_type == "text/html; charset=utf-8"
    assert served(console, "pages/try.js") == httpbody_pb2.HttpBody(
        content_type="text/javascript; charset=utf-8", data=b"pages/try.js"
    )


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "notes.txt", "pages", "pages/", "../secret.js", "/etc/passwd", "pages/../main.js", "./main.js"],
)
def test_nothing_else_is(folder: Path, name: str):
    with pytest.raises(FileUnknown):
        served(ConsoleServicer(folder), name)


def test_what_is_changed_or_comes_later_is_not_served(folder: Path):
    console = ConsoleServicer(folder)
    (folder / "later.js").write_text("later")
    (folder / "main.js").write_text("changed")
    assert served(console, "main.js").data == b"main.js"
    with pytest.raises(FileUnknown):
        served(console, "later.js")


def test_the_console_is_whole_and_small():
    scripts = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*.js")}
    assert sum(len(text.encode()) for text in scripts.values()) < MOST_SCRIPT
    for name, text in scripts.items():
        for imported in re.findall(r'^import .* from "(.+)";$', text, re.MULTILINE):
            assert (FOLDER / name).parent.joinpath(imported).is_file(), f"{name} imports {imported}"
    page = (FOLDER / "index.html").read_text()
    for address in re.findall(r'(?:src|href)="/console/(.+?)"', page):
        assert (FOLDER / address).is_file()
    assert page.count("<script") == 1 and "style=" not in page


def test_texts_are_not_written_as_markup_and_nothing_is_loaded_from_elsewhere():
    for path in FOLDER.rglob("*.js"):
        found = re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|https?://", path.read_text()
        )
        assert not found, path
