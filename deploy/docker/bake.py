"""Puts networks into an image while it is built, so that a container needs no web and can start on a read-only root.

`python -m deploy.docker.bake embedder Dlib,ArcFace`: the embedder takes recognition models, the liveness service
MiniFASNet, the detector always its own, the gateway none. An image holds the code of one service only, so each function
here imports what it needs itself.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from deploy.models.weights import WeightStore
from services.common.errors import RecoError

ROOT = Path(__file__).resolve().parents[2]
GIVEN = Path(__file__).resolve().parent / "weights"

#: What MODELS calls the liveness model.
LIVENESS = "minifasnet"


def main() -> int:
    """Says what went in; returns 1 where something that was asked for could not be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("service", choices=("detector", "liveness", "embedder", "gateway"))
    parser.add_argument("models", nargs="?", default="", help="names joined by commas")
    parser.add_argument("--into", type=Path, default=ROOT, help="gets the folders cache and weights")
    options = parser.parse_args()
    cache, weights = options.into / "cache", options.into / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    if (GIVEN / "cache").is_dir():  # networks that were converted elsewhere, since no image has TensorFlow
        shutil.copytree(GIVEN / "cache", cache, dirs_exist_ok=True)
    names = {name.strip().lower() for name in options.models.split(",") if name.strip()}
    bake = {"detector": _face_finder, "liveness": _liveness, "embedder": _recognisers, "gateway": _nothing}
    try:
        print(f"{options.service}: {', '.join(bake[options.service](names, cache, weights)) or 'nothing to carry'}")
    except RecoError as err:
        print(f"{options.service}: {err}", file=sys.stderr)
        return 1
    _tidy(weights)
    return 0


def _nothing(names: set[str], cache: Path, weights: Path) -> list[str]:
    return []


def _face_finder(names: set[str], cache: Path, weights: Path) -> list[str]:
    from deploy.models.networks.mtcnn import mtcnn_networks

    mtcnn_networks(cache)
    return ["MTCNN"]


def _liveness(names: set[str], cache: Path, weights: Path) -> list[str]:
    from deploy.models.sources import minifasnet_files
    from services.common.networks.convolution import Convolutions

    Convolutions(cache)
    if LIVENESS not in names:
        return []
    store = _store(weights)
    return [store.get(file).name for file in minifasnet_files().values()]


def _recognisers(names: set[str], cache: Path, weights: Path) -> list[str]:
    from services.embedder.integer_products import IntegerProducts
    from services.embedder.recognition import catalogue as models
    from services.embedder.recognition import recogniser as recogniser

    IntegerProducts(cache)
    store = _store(weights)
    recognisers = sorted(names - {LIVENESS})
    return [recogniser.load(models.find(name), store, cache).name for name in recognisers]


def _store(weights: Path) -> WeightStore:
    """Fetches from RECO_MIRROR, or else from the folder beside this module, or else from a file's maker."""
    return WeightStore(weights, os.environ.get("RECO_MIRROR") or str(GIVEN))


def _tidy(weights: Path) -> None:
    """Leaves the weights alone in their folder."""
    for lock in weights.glob(".*.lock"):
        lock.unlink()


if __name__ == "__main__":
    sys.exit(main())
