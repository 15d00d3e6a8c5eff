"""Makes the first `.env`, a copy of .env.example: with Dlib instead of a recogniser that cannot be had, and why.

`make run` and `make models` call it where there is no `.env`. Dlib comes from PyPI, as all else that a start needs.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.models import workshop
from deploy.models.sources import canonical
from deploy.models.workshop import Order
from services.common.errors import RecoError

ROOT = Path(__file__).resolve().parents[2]
INSTEAD = "Dlib"
SELECTED = re.compile(r"^SELECTED_MODELS=(.*)$", re.MULTILINE)


def main() -> int:
    """Says what was made; leaves a file that is there already."""
    target = ROOT / ".env"
    if target.exists():
        return 0
    text, complaint = settings((ROOT / ".env.example").read_text(), _make)
    unfinished = target.with_name(".env.new")
    unfinished.write_text(text)
    unfinished.replace(target)
    print("made .env from .env.example")
    if complaint:
        print(f"{complaint}\n.env names {INSTEAD} instead, which confuses people more often (docs/accuracy.md).")
    return 0


def settings(example: str, make: Callable[[str], object]) -> tuple[str, str]:
    """The text of `.env`, and why it does not name the recognisers of the example; empty where it does.

    Args:
        example: the text of .env.example.
        make: makes a model of that name ready; raises RecoError where it cannot be had.
    """
    selected = SELECTED.search(example)
    try:
        for name in selected[1].split(",") if selected else ():
            make(name.strip())
    except RecoError as error:
        complaint = " ".join(str(error).split())
        why = f"# Not as in .env.example, for when this file was made: {complaint}"
        return SELECTED.sub(lambda _: f"{why}\nSELECTED_MODELS={INSTEAD}", example), complaint
    return example, ""


def _make(name: str) -> object:
    get = os.environ.get
    weights, cache = Path(get("RECO_MODELS", "var/models")), Path(get("RECO_CACHE", "var/cache"))
    return workshop.make(Order(canonical(name), weights, cache / "models", mirror=get("RECO_MIRROR", "")))


if __name__ == "__main__":
    sys.exit(main())
