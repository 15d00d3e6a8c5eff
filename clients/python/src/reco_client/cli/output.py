"""What commands print, and the status that they end with."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import Limited, RecoError, Unavailable
from ..reading import plain


class Status(IntEnum):
    """Of the process, for scripts."""

    YES = 0  # done, or the answer is yes
    NO = 1  # the answer is no, unknown, or not all of it was done
    USAGE = 2  # asked in a way that makes no sense
    REFUSED = 3  # by the server: a key, an ID, a picture
    UNREACHABLE = 4  # the server is not reached, too busy, or broken


def status_of(err: RecoError) -> Status:
    """The status that an error comes to."""
    return Status.UNREACHABLE if isinstance(err, Unavailable | Limited) else Status.REFUSED


@contextmanager
def told(as_json: bool = False) -> Iterator[None]:
    """Ends the process with a message where an error comes up: one line, or JSON."""
    try:
        yield
    except RecoError as err:
        if as_json:
            show_json(problem(err))
        else:
            reason = f" ({err.reason})" if err.reason else ""
            print(f"reco: {printable(str(err))}{reason}", file=sys.stderr)
        raise typer.Exit(status_of(err)) from None
    except (ValueError, OSError) as err:
        print(f"reco: {printable(str(err))}", file=sys.stderr)
        raise typer.Exit(Status.USAGE) from None


def problem(err: RecoError) -> dict[str, object]:
    """An error as JSON shows it."""
    return {"error": {"message": str(err), "reason": err.reason, "status": err.status, "fields": err.fields}}


def show_json(value: object) -> None:
    """Prints an answer as JSON, on one line."""
    print(json.dumps(plain(value), ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table as wide as it needs to be."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False)
    console.print(table) if console.is_terminal else Console(highlight=False, width=200).print(table)


def show(line: str = "") -> None:
    """Prints a line."""
    print(printable(line))


def printable(text: str) -> str:
    """Text of others without what would steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
