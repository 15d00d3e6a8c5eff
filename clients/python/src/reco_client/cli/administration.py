"""Commands for administrators: keys, operations, the audit log."""

from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from ..answers import Operation
from .app import AsJson, Session, app
from .output import show, show_json, show_table, told

keys = typer.Typer(no_args_is_help=True, help="Keys of clients.")
uploads = typer.Typer(no_args_is_help=True, help="Uploads that wait to be enrolled or verified.")
operations = typer.Typer(no_args_is_help=True, help="Long work.")
app.add_typer(keys, name="keys")
app.add_typer(operations, name="operations")
app.add_typer(uploads, name="uploads")


class Role(StrEnum):
    """What a key may."""

    VERIFY = "verify"
    ENROLL = "enroll"
    ADMIN = "admin"


@keys.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """All keys that were ever made."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        found = client.list_keys()
    if as_json:
        show_json(found)
        return
    rows = [
        (one.name, one.role, _state(one.state), _day(one.create_time), _day(one.expire_time), _day(one.last_use_time))
        for one in found
    ]
    show_table(("name", "role", "state", "made", "expires", "last used"), rows)


@keys.command("make")
def make_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, or of what: door.")],
    role: Annotated[Role, typer.Option(help="What it may.")],
    lifetime: Annotated[str, typer.Option(help="12h, 90d or 1y; for ever if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it this once."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        made = client.create_key(name, role.value, lifetime)
    show_json(made) if as_json else show(made.secret)


@keys.command("revoke")
def revoke_key(context: typer.Context, name: str, as_json: AsJson = False) -> None:
    """Make a key worthless, for ever."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        revoked = client.revoke_key(name)
    show_json(revoked) if as_json else show(f"{revoked.name} is revoked")


@operations.command("list")
def list_operations(context: typer.Context, as_json: AsJson = False) -> None:
    """Those that run, and the latest that have ended."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        found = client.list_operations()
    _show(found, as_json)


@operations.command()
def rebuild(context: typer.Context, as_json: AsJson = False) -> None:
    """Make all templates and search indexes anew from the stored photos."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        begun = client.start_rebuild()
    show_json(begun) if as_json else _show((begun,), False)


@operations.command()
def cancel(context: typer.Context, operation_id: str, as_json: AsJson = False) -> None:
    """End one that runs."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        ended = client.cancel_operation(operation_id)
    show_json(ended) if as_json else _show((ended,), False)


@uploads.command("list")
def list_uploads(context: typer.Context, as_json: AsJson = False) -> None:
    """All of them, with their age."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        found = list(client.list_uploads())
    if as_json:
        show_json(found)
        return
    rows = [(one.upload_id, one.person_id, str(one.photos), _moment(one.create_time)) for one in found]
    show_table(("upload", "person", "photos", "since"), rows)


@uploads.command("delete")
def delete_upload(context: typer.Context, upload_id: str, as_json: AsJson = False) -> None:
    """Delete one."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        existed = client.delete_upload(upload_id)
    if as_json:
        show_json({"existed": existed})
    else:
        show(f"{upload_id} is deleted" if existed else "there is no such upload")


@app.command()
def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Who did what to whom, the latest first."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        found = list(islice(client.list_audit_entries(), limit))
    if as_json:
        show_json(found)
        return
    rows = [(_moment(one.time), one.key, one.action, one.person_id, one.outcome) for one in found]
    show_table(("time", "key", "action", "person", "outcome"), rows)


def _show(found: tuple[Operation, ...], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    columns = ("operation", "what", "state", "people", "begun", "problem")
    show_table(columns, list(map(_row, found)))


def _row(one: Operation) -> tuple[str, ...]:
    kind, state = one.kind.removeprefix("KIND_").lower(), _state(one.state)
    what = f"{kind} by {', '.join(one.models)}"
    return one.operation_id, what, state, f"{one.done_people}/{one.total_people}", _moment(one.create_time), one.problem


def _state(state: str) -> str:
    return state.removeprefix("STATE_").lower()


def _day(time: datetime | None) -> str:
    return time.date().isoformat() if time else ""


def _moment(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""
