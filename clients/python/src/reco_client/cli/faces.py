"""Commands that look at photos: detect, compare, identify, verify."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..answers import Compared, Detected, Identified, Verified
from ..calls import IdentifyOptions, MatchOptions
from ..errors import NotAllowed, RecoError, TooLarge
from ..reading import plain
from .app import AsJson, PhotoPath, PhotoPaths, Session, app, finish
from .output import Status, printable, problem, show, show_json, status_of, told
from .plan import MAX_PHOTO_BYTES

T = TypeVar("T")

Largest = Annotated[bool, typer.Option("--largest", help="Look at the largest face of a photo alone.")]
Threshold = Annotated[float | None, typer.Option(help="The distance up to which faces match.")]
MaxFmr = Annotated[float | None, typer.Option(help="The false match rate to allow instead, 1e-7 to 0.1.")]
TopK = Annotated[int, typer.Option(min=1, max=100, help="People to name of each face.")]


@app.command()
def detect(
    context: typer.Context,
    photos: PhotoPaths,
    liveness: Annotated[bool, typer.Option("--liveness", help="Also judge whether it is a living person.")] = False,
    largest: Largest = False,
    as_json: AsJson = False,
) -> None:
    """Find the faces of photos, and say how good they are. Status 0: there is one in each."""
    session: Session = context.obj
    with told(as_json), session.client() as client:

        def ask(photo: Path) -> Detected:
            return client.detect(photo, check_liveness=liveness, largest_face_only=largest)

        finish(_each(photos, ask, _detected, as_json))


@app.command()
def identify(
    context: typer.Context,
    photos: PhotoPaths,
    top_k: TopK = 1,
    label: Annotated[list[str] | None, typer.Option(help="Only people with one of these labels.")] = None,
    largest: Largest = False,
    threshold: Threshold = None,
    max_fmr: MaxFmr = None,
    as_json: AsJson = False,
) -> None:
    """Say who is on photos. Status 0: every face is known; 1: one is not, or there is none."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        wanted: IdentifyOptions = {**_matching(largest, threshold, max_fmr), "top_k": top_k, "labels": label or []}
        finish(_each(photos, lambda photo: client.identify(photo, **wanted), _identified, as_json))


@app.command()
def verify(
    context: typer.Context,
    person_id: Annotated[str, typer.Argument(metavar="ID")],
    photos: PhotoPaths,
    skip_liveness: Annotated[
        bool, typer.Option("--skip-liveness", help="Take a picture of a picture as well.")
    ] = False,
    largest: Largest = False,
    max_fmr: MaxFmr = None,
    as_json: AsJson = False,
) -> None:
    """Say whether photos show that person. Status 0: all of them do."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        wanted = _matching(largest, None, max_fmr)

        def ask(photo: Path) -> Verified:
            return client.verify(person_id, photo, skip_liveness=skip_liveness, **wanted)

        finish(_each(photos, ask, _verified, as_json))


@app.command()
def compare(
    context: typer.Context,
    photo: PhotoPath,
    other: PhotoPath,
    largest: Largest = False,
    threshold: Threshold = None,
    max_fmr: MaxFmr = None,
    as_json: AsJson = False,
) -> None:
    """Say whether two photos show one person. Status 0: two of their faces are one person's."""
    session: Session = context.obj
    with told(as_json), session.client() as client:
        wanted = _matching(largest, threshold, max_fmr)
        _small_enough(other)
        finish(_each([photo], lambda one: client.compare(one, other, **wanted), _compared, as_json))


def _each(
    photos: Sequence[Path], ask: Callable[[Path], T], judge: Callable[[T], tuple[bool, str]], as_json: bool
) -> Status:
    """Asks about photo after photo and prints what is answered; a photo that is refused does not end it."""
    worst, found = Status.YES, []
    for photo in photos:
        shown: dict[str, Any] = {"photo": str(photo)}
        try:
            _small_enough(photo)
            answer = ask(photo)
        except RecoError as err:
            status = status_of(err)
            if status is Status.UNREACHABLE or isinstance(err, NotAllowed):
                raise
            shown, line = {**shown, **problem(err)}, f"refused: {err}"
        else:
            yes, line = judge(answer)
            status = Status.YES if yes else Status.NO
            shown |= plain(answer)
        worst = max(worst, status)
        if as_json:
            found.append(shown)
        else:
            for one in line.split("\n"):
                show(f"{photo}: {printable(one)}")
    if as_json:
        show_json(found)
    return worst


def _small_enough(photo: Path) -> None:
    if photo.stat().st_size > MAX_PHOTO_BYTES:
        raise TooLarge(f"the photo is larger than {MAX_PHOTO_BYTES / (1 << 20):.1f} MiB", status=413)


def _matching(largest: bool, threshold: float | None, max_fmr: float | None) -> MatchOptions:
    wanted: MatchOptions = {"largest_face_only": largest}
    if threshold is not None:
        wanted["threshold"] = threshold
    if max_fmr is not None:
        wanted["max_fmr"] = max_fmr
    return wanted


def _detected(answer: Detected) -> tuple[bool, str]:
    lines = []
    for face in answer.faces:
        box, verdict = face.place.box, face.liveness and face.liveness.verdict.removeprefix("VERDICT_").lower()
        words = [f"a face of {box.width:.0f} x {box.height:.0f} at {box.x:.0f}, {box.y:.0f}", *face.complaints]
        lines.append(", ".join([*words, *([verdict] if verdict else [])]))
    return bool(lines), "\n".join(lines) or "no face"


def _identified(answer: Identified) -> tuple[bool, str]:
    lines = []
    for face in answer.faces:
        named = [
            f"{one.person.display_name} ({one.person.person_id}), {one.similarity:.0f} %" for one in face.candidates
        ]
        lines.append("unknown" if face.unknown else " or ".join(named))
    return bool(lines) and not any(face.unknown for face in answer.faces), "\n".join(lines) or "no face"


def _verified(answer: Verified) -> tuple[bool, str]:
    if answer.outcome == "OUTCOME_SPOOF":
        return False, "no, no living face"
    return answer.verified, f"{'yes' if answer.verified else 'no'}, {answer.similarity:.0f} %"


def _compared(answer: Compared) -> tuple[bool, str]:
    same = [pair for pair in answer.pairs if pair.same_person]
    best = f", {answer.pairs[0].similarity:.0f} %" if answer.pairs else ", no face"
    return bool(same), f"{'one person' if same else 'not one person'}{best}"
