"""Commands about people: list, show, rename, label, merge, delete, and conflicts between them."""

from itertools import islice
from typing import Annotated

import typer

from ..answers import Person
from ..calls import ListOptions
from ..reading import plain
from .app import AsJson, Session, app, finish
from .output import Status, printable, show, show_json, show_table, told

people = typer.Typer(no_args_is_help=True, help="The people who are enrolled.")
app.add_typer(people, name="people")

PersonId = Annotated[str, typer.Argument(metavar="ID")]


@people.command("list")
def list_people(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Whose names begin so, in any case.")] = "",
    label: Annotated[str, typer.Option(help="Who have this label.")] = "",
    external_id: Annotated[str, typer.Option(help="Who have this ID of yours.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """List people. Status 1: there is nobody."""
    session: Session = context.obj
    wanted: ListOptions = {
        "name_prefix": name,
        "label": label,
        "external_id": external_id,
        "page_size": min(limit, 200),
    }
    with told(as_json), session.client() as client:
        found = list(islice(client.list_people(**wanted), limit))
    if as_json:
        show_json(found)
    elif found:
        show_table(("ID", "name", "labels", "external ID", "since"), [_row(person) for person in found])
    finish(Status.YES if found else Status.NO)


@people.command("show")
def show_person(context: typer.Context, person_id: PersonId, as_json: AsJson = False) -> None:
    """Show somebody and their photos."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        person, photos = client.get_person(person_id), client.list_photos(person_id)
    if as_json:
        show_json({**plain(person), "photos": plain(photos)})
        return
    _show_changed(person, False)
    rows = [(one.photo_id, f"{one.quality.score:.1f}" if one.quality else "", _day(one.create_time)) for one in photos]
    show_table(("photo", "score", "since"), rows)


@people.command()
def rename(context: typer.Context, person_id: PersonId, name: str, as_json: AsJson = False) -> None:
    """Change somebody's name."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        changed = client.update_person(person_id, display_name=name)
    _show_changed(changed, as_json)


@people.command("label")
def label_person(
    context: typer.Context,
    person_id: PersonId,
    add: Annotated[list[str] | None, typer.Option(help="A label to give them.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A label to take from them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give somebody labels, or take them away."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        if not add and not remove:
            raise ValueError("name a label: --add or --remove")
        before = client.get_person(person_id).labels
        labels = sorted({*before, *(add or ())} - set(remove or ()))
        changed = client.update_person(person_id, labels=labels)
    _show_changed(changed, as_json)


@people.command()
def delete(
    context: typer.Context,
    person_id: PersonId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase somebody: name, photos, templates. Asks first. Status 1: there was nobody."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        if not yes:
            name = client.get_person(person_id).display_name
            typer.confirm(f"Erase {printable(name)} ({printable(person_id)}) for good?", abort=True, err=True)
        existed = client.delete_person(person_id)
    if as_json:
        show_json({"existed": existed})
    else:
        show(f"{person_id} is erased" if existed else f"{person_id} is not enrolled")
    finish(Status.YES if existed else Status.NO)


@people.command()
def merge(
    context: typer.Context,
    person_id: PersonId,
    other_id: Annotated[str, typer.Argument(metavar="OTHER")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give somebody the photos and labels of OTHER, who is erased. Asks first."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        if not yes:
            kept, gone = (client.get_person(one).display_name for one in (person_id, other_id))
            question = (
                f"Merge {printable(gone)} ({printable(other_id)}) into {printable(kept)} ({printable(person_id)})?"
            )
            typer.confirm(question, abort=True, err=True)
        merged = client.merge_person(person_id, other_id)
    _show_changed(merged, as_json)


@app.command()
def conflicts(
    context: typer.Context,
    max_fmr: Annotated[
        float, typer.Option(help="A false match rate, 1e-7 to 0.1; that of searches if not given.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Pairs of people whose photos match: who may be enrolled twice. Status 1: there are none."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        found = list(client.list_conflicts(max_fmr))
    if as_json:
        show_json(found)
    elif found:
        rows = [
            (
                one.person.person_id,
                one.person.display_name,
                one.other.person_id,
                one.other.display_name,
                f"{one.similarity:.0f}",
            )
            for one in found
        ]
        show_table(("ID", "name", "is like", "name", "similarity"), rows)
    finish(Status.YES if found else Status.NO)


def _show_changed(person: Person, as_json: bool) -> None:
    if as_json:
        show_json(person)
    else:
        show_table(("ID", "name", "labels", "external ID", "since"), [_row(person)])


def _row(person: Person) -> tuple[str, str, str, str, str]:
    since = _day(person.create_time)
    return person.person_id, person.display_name, ", ".join(person.labels), person.external_id, since


def _day(time: object) -> str:
    return str(time)[:10] if time else ""
