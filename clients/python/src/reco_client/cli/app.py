"""The commands of `reco`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..client import Client
from ..sending import Retries
from .output import Status, show, show_json, show_table, told

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="RECO, face recognition. Status: 0 yes, 1 no or unknown, 2 usage, 3 refused, 4 unreachable.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
PhotoPath = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, metavar="PHOTO")]
PhotoPaths = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, metavar="PHOTO...")]


@dataclass(frozen=True)
class Session:
    """Where RECO is and how it is asked: the options before the command."""

    url: str | None
    key: str | None
    timeout: float
    retries: int

    def client(self) -> Client:
        """A client; ValueError where the address or the key is none."""
        return Client(self.url, self.key, timeout=self.timeout, retries=Retries(self.retries))


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(envvar="RECO_URL", help="http://localhost:8001 if not given.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="A file with the key; else RECO_API_KEY is.", exists=True, dir_okay=False)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for an answer.")] = 60.0,
    retries: Annotated[int, typer.Option(min=0, max=20, help="How often to ask again where it is busy.")] = 4,
) -> None:
    """Where RECO is; the key is no option, for others on the machine would see it."""
    with told():
        if key_file and key_file.stat().st_size > 4096:
            raise ValueError(f"{key_file} is larger than a key")
        key = key_file.read_text().strip() if key_file else None
    context.obj = Session(url, key, timeout, retries)


@app.command()
def info(context: typer.Context, as_json: AsJson = False) -> None:
    """What the installation is: version, models, limits."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        answer = client.info()
    if as_json:
        show_json(answer)
        return
    settings = answer.settings
    show(f"RECO {answer.version} at {client.url}")
    show(f"IDs match {settings.id_regex}; photos score {settings.min_score:g} or more")
    columns = ("model", "threshold", "false match rate")
    fmr = [f"{model.fmr:.2g}" if model.fmr else "not measured" for model in answer.models]
    show_table(
        columns, [(m.name, f"{m.threshold:g} ({answer.distance})", f) for m, f in zip(answer.models, fmr, strict=True)]
    )


def finish(status: Status) -> None:
    """Ends the process."""
    raise typer.Exit(status)


from . import administration, archives, faces, folders, people  # noqa: E402  they add their commands

__all__ = ["administration", "app", "archives", "faces", "folders", "people"]
