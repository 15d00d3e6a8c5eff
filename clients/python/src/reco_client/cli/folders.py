"""Commands that enroll many: enroll."""

import csv
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from ..client import Client
from ..errors import RecoError
from ..reading import plain
from .app import AsJson, Session, app, finish
from .enroll import Result, Runner
from .journal import Journal
from .old import plan_old, read_env, read_rows
from .output import Status, show, show_json, told
from .plan import Names, Plan, plan_csv, plan_folder

JOURNAL = ".reco-enroll.jsonl"
SHOWN = 20

JournalPath = Annotated[Path | None, typer.Option(help=f"Where to note who is enrolled; {JOURNAL} in FOLDER.")]
Report = Annotated[Path | None, typer.Option(help="Write what was refused, and why, to this CSV file.")]
Workers = Annotated[int, typer.Option(min=1, max=32, help="People at a time.")]
RejectSimilar = Annotated[bool, typer.Option("--reject-similar", help="Leave out who is enrolled under another ID.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@app.command()
def enroll(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, readable=True)],
    table: Annotated[
        Path | None, typer.Option("--csv", help="Columns: name, photo, …", exists=True, dir_okay=False)
    ] = None,
    workers: Workers = 8,
    reject_similar: RejectSimilar = False,
    journal: JournalPath = None,
    report: Report = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Enroll a folder: a folder for each person (NAME, ID or NAME_ID), or files named NAME_ID…, or a CSV.

    Run it again to go on where it was stopped, or with photos that have come since. Status 1: something was left out.
    """
    session: Session = context.obj
    with told(as_json), session.client() as client:
        plan = plan_csv(folder, table) if table else plan_folder(folder, Names(client.info().settings.id_regex))
        summary = Summary(plan)
        if dry_run:
            show_plan(plan, as_json)
        else:
            carry_out(client, plan, summary, journal or folder / JOURNAL, (workers, reject_similar, as_json))
            summary.show(as_json)
        if report:
            summary.write(report)
        finish(Status.NO if summary.refused else Status.YES)


@app.command()
def migrate(
    context: typer.Context,
    env: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The .env of PuertoRECO.")],
    photos: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Where DB_PATH is now, if it has moved.")
    ] = None,
    workers: Workers = 8,
    journal: Annotated[Path, typer.Option(help="Where to note who is enrolled.")] = Path("reco-migrate.jsonl"),
    report: Report = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Enroll everybody of a PuertoRECO installation under their IDs and names; nothing of it is changed.

    Begin with --dry-run. Run it again to go on where it was stopped. Status 1: something was left out.
    """
    session: Session = context.obj
    with told(as_json), session.client() as client:
        old = read_env(env)
        names, rows = Names(client.info().settings.id_regex), read_rows(old, env.parent)
        plan = plan_old(rows, photos or env.parent / old["DB_PATH"], names)
        summary = Summary(plan)
        if dry_run:
            show_plan(plan, as_json)
        else:
            carry_out(client, plan, summary, journal, (workers, False, as_json))
            summary.show(as_json)
        if report:
            summary.write(report)
        finish(Status.NO if summary.refused else Status.YES)


class Summary:
    """What has been done so far."""

    def __init__(self, plan: Plan):
        self._root = f"{plan.root}{os.sep}"
        self.refused = list(plan.refused)
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        """Takes in what became of somebody."""
        self.results.append(result)
        self.refused += [replace(one, file=one.file.removeprefix(self._root)) for one in result.refused]

    def show(self, as_json: bool) -> None:
        """Prints it."""
        if as_json:
            show_json({"people": [_told(one) for one in self.results], "refused": plain(self.refused)})
            return
        there = [one for one in self.results if one.person_id]
        before = sum(one.before for one in there)
        show(
            f"{len(there) - before} people enrolled, {before} were before; {sum(one.enrolled for one in there)} photos"
        )
        for one in [one for one in there if one.similar][:SHOWN]:
            show(f"  {one.key} ({one.person_id}) looks like {', '.join(one.similar)}, enrolled before")
        if self.refused:
            show(f"{len(self.refused)} left out:")
        for why, number in Counter(one.why.partition(" (")[0] for one in self.refused).most_common():
            show(f"  {number:6}  {why}")
        for refused in self.refused[:SHOWN]:
            show(f"  {refused.file or refused.person}: {refused.why}")
        if len(self.refused) > SHOWN:
            show(f"  and {len(self.refused) - SHOWN} more; --report FILE writes all of them")

    def write(self, path: Path) -> None:
        """Writes what was refused as CSV; what would be a formula in a spreadsheet is none."""
        with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.writer(file)
            rows.writerow(("person", "file", "why"))
            rows.writerows([_cell(text) for text in (one.person, one.file, one.why)] for one in self.refused)


def carry_out(client: Client, plan: Plan, summary: Summary, journal: Path, how: tuple[int, bool, bool]) -> None:
    """Enrolls a plan, with a bar where somebody looks on; says what was done also where it has to stop.

    Args:
        how: people at a time, whether similar ones are left out, whether nothing but JSON is to be printed.
    """
    workers, reject_similar, quiet = how
    kept = Journal(journal, client.url)
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
            task = bar.add_task("photos", total=plan.photos)
            runner = Runner(client, kept, lambda number: bar.advance(task, number), reject_similar, workers)
            for result in runner.run(plan):
                summary.add(result)
    except RecoError:
        if not quiet:
            summary.show(False)
            show("stopped; run it again to go on")
        raise
    finally:
        kept.close()


def show_plan(plan: Plan, as_json: bool) -> None:
    """Prints who would be enrolled."""
    if as_json:
        told_of = [{**plain(one), "photos": [str(photo) for photo in one.photos]} for one in plan.people.values()]
        show_json({"people": told_of, "refused": plain(plan.refused)})
        return
    for one in list(plan.people.values())[:SHOWN]:
        show(f"  {one.name} ({one.person_id or 'an ID is made'}), {len(one.photos)} photos")
    if len(plan.people) > SHOWN:
        show(f"  and {len(plan.people) - SHOWN} more")
    show(f"{len(plan.people)} people, {plan.photos} photos would be sent, {len(plan.refused)} left out")
    for refused in plan.refused[:SHOWN]:
        show(f"  {refused.file or refused.person}: {refused.why}")


class _Rate(ProgressColumn):
    """Photos a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} photos/s" if task.speed else "")


def _told(result: Result) -> dict[str, object]:
    told_of = {"key": result.key, "person_id": result.person_id, "photos": result.enrolled, "before": result.before}
    return {**told_of, "similar": list(result.similar)}


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
