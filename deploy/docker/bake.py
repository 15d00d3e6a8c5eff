"""Puts finished models into an image while it is built, so that a container needs no web and can start on a read-only
root.

`python -m deploy.docker.bake embedder Dlib,ArcFace`: the embedder takes recognisers, the liveness service MiniFASNet, the
detector always MTCNN, the gateway none. Weight files come from RECO_MIRROR, or else from the folder `weights` beside this
module, or else from their makers.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.models.sources import FR_LIVENESS, MINIFASNET, MTCNN, YUNET, canonical
from deploy.models.workshop import Order, make
from services.common.errors import RecoError

ROOT = Path(__file__).resolve().parents[2]
GIVEN = Path(__file__).resolve().parent / "weights"


def main() -> int:
    """Says what went in; returns 1 where something that was asked for could not be had."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("service", choices=("detector", "liveness", "embedder", "gateway"))
    parser.add_argument("models", nargs="?", default="", help="names joined by commas")
    parser.add_argument("--into", type=Path, default=ROOT, help="gets the folder cache/models")
    options = parser.parse_args()
    into = options.into / "cache" / "models"
    into.mkdir(parents=True, exist_ok=True)
    if (GIVEN / "models").is_dir():  # networks that were converted elsewhere, since no image has TensorFlow
        shutil.copytree(GIVEN / "models", into, dirs_exist_ok=True)
    try:
        print(f"{options.service}: {', '.join(bake(options.service, options.models, into)) or 'nothing to carry'}")
    except RecoError as err:
        print(f"{options.service}: {err}", file=sys.stderr)
        return 1
    for lock in into.glob(".*.lock"):
        lock.unlink()
    return 0


def bake(service: str, models: str, into: Path) -> list[str]:
    """Makes what the image of a service carries of the models that were asked for; gives their names.

    Raises:
        UnknownModel, ModelUnavailable: there is none of that name, or it cannot be made.
    """
    asked = sorted({canonical(name.strip()) for name in models.split(",") if name.strip()})
    names = {
        "detector": [MTCNN, *(name for name in asked if name == YUNET)],
        "liveness": [name for name in asked if name in (MINIFASNET, FR_LIVENESS)],
        "embedder": [name for name in asked if name not in (MINIFASNET, FR_LIVENESS, MTCNN, YUNET)],
        "gateway": [],
    }[service]
    with tempfile.TemporaryDirectory() as weights:
        for name in names:
            make(Order(name, Path(weights), into, mirror=os.environ.get("RECO_MIRROR") or str(GIVEN)))
    return names


if __name__ == "__main__":
    sys.exit(main())
