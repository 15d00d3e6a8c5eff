"""Commands that move people from one installation to another: export, import."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from ..answers import ImportedPerson
from ..archive import ArchiveReader, ArchiveWriter
from .app import AsJson, Session, app, finish
from .output import Status, show, show_json, told

#: Refusals that are printed.
SHOWN = 20

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="A file with the passphrase; asked for if not given.", exists=True, dir_okay=False),
]


@app.command("export")
def export_people(
    context: typer.Context,
    archive: Annotated[Path, typer.Argument(dir_okay=False, writable=True, metavar="FILE")],
    plain: Annotated[bool, typer.Option(help="Without a passphrase: whoever has the file sees the faces.")] = False,
    templates: Annotated[bool, typer.Option(help="With templates, so that nothing is computed anew.")] = True,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Write everybody to an archive: photos, names, labels, IDs, templates."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        passphrase = "" if plain else _passphrase(passphrase_file, new=True)
        with ArchiveWriter(archive, passphrase) as writer, _counting_people(as_json) as count:
            for page in client.export_people(templates):
                writer.add(page)
                count(writer.people)
    if as_json:
        show_json({"people": writer.people, "bytes": archive.stat().st_size})
    else:
        show(f"{writer.people} people in {archive}, {archive.stat().st_size / 1e6:.1f} MB")


@app.command("import")
def import_people(
    context: typer.Context,
    archive: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, metavar="FILE")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Enroll everybody of an archive under their IDs. After a kill it goes on where it was. Status 1: some were refused."""
    session: Session = context.obj
    done: Counter[str] = Counter()
    refused = list[ImportedPerson]()
    with told(as_json), session.client() as client:
        progress = _Progress(archive, client.url)
        with _reader(archive, passphrase_file) as reader, _counting_people(as_json) as count:
            for number, page in enumerate(reader.pages(), 1):
                if number <= progress.pages:
                    continue
                imported = client.import_people(page)
                done.update(one.outcome.removeprefix("OUTCOME_").lower() for one in imported)
                refused += [one for one in imported if one.outcome == "OUTCOME_REFUSED"]
                progress.write(number)
                count(done.total())
        progress.clear()
    if as_json:
        show_json({**done, "refusals": refused})
    else:
        _report(done, refused, progress.pages)
    finish(Status.NO if refused else Status.YES)


def _report(done: Counter[str], refused: list[ImportedPerson], earlier: int) -> None:
    again = " after an earlier run" if earlier else ""
    show(f"{done['imported']} people enrolled, {done['unchanged'] + done['added']} were there before{again}")
    if done["added"]:
        show(f"{done['added']} times somebody got photos that were missing")
    if refused:
        show(f"{len(refused)} refused:")
        for one in refused[:SHOWN]:
            show(f"  {one.person_id}: {one.problem}")


def _reader(archive: Path, passphrase_file: Path | None) -> ArchiveReader:
    try:
        return ArchiveReader(archive, _passphrase(passphrase_file) if passphrase_file else "")
    except ValueError as err:
        if passphrase_file or "closed by a passphrase" not in str(err):
            raise
    return ArchiveReader(archive, _passphrase(None))


def _passphrase(file: Path | None, new: bool = False) -> str:
    """Of a file, or as it is typed; ValueError where there is none."""
    if file:
        if file.stat().st_size > 4096:
            raise ValueError(f"{file} is larger than a passphrase")
        given = file.read_text().strip()
    elif sys.stdin.isatty():
        given = getpass("Passphrase: ")
        if new and given and getpass("Once more: ") != given:
            raise ValueError("these were two passphrases")
    else:
        raise ValueError("a passphrase is wanted: --passphrase-file FILE")
    if not given:
        raise ValueError("the passphrase is empty")
    return given


class _Progress:
    """How many pages of an archive have arrived at an installation, in a file beside it."""

    def __init__(self, archive: Path, url: str):
        stat = archive.stat()
        self._path = archive.with_name(f".{archive.name}.imported")
        self._what = {"url": url, "size": stat.st_size, "mtime": stat.st_mtime_ns}
        self.pages = self._read()

    def write(self, pages: int) -> None:
        unfinished = self._path.with_name(f"{self._path.name}.new")
        unfinished.write_text(json.dumps({**self._what, "pages": pages}))
        unfinished.replace(self._path)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def _read(self) -> int:
        try:
            known = json.loads(self._path.read_text())
            pages = int(known.pop("pages"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return 0
        return pages if known == self._what else 0


@contextmanager
def _counting_people(as_json: bool) -> Iterator[Callable[[int], None]]:
    """Gives what shows how many there were, where a terminal looks on."""
    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("{task.completed:.0f} people"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done: progress.update(task, completed=done)
