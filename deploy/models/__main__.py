"""The model workshop: fetches, checks and converts the weights of models, so that services find them finished.

`make models MODELS=ArcFace,Dlib` calls it, `make run` (for what is missing), the build of the images, and a service that
finds a model missing, as a child process.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.models import workshop
from deploy.models.keras.convert import ConverterMissing
from deploy.models.sources import FR_LIVENESS, MINIFASNET, MTCNN, canonical
from deploy.models.workshop import Order
from services.common.env import EnvFile
from services.common.errors import RecoError

FAILED, NEEDS_CONVERTER = 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each model; returns 1 where one could not be had, 3 where only the converter is missing."""
    options = _options(arguments)
    try:
        orders = [_order(name, options) for name in _named(options)] or _configured(options)
    except RecoError as error:
        print(error, file=sys.stderr)
        return FAILED
    if options.missing:
        orders = [order for order in orders if not workshop.finished(order)]
    return max((_make(order, options.will_install) for order in orders), default=0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    get = os.environ.get
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "models", nargs="*", help="names, or lists of them joined by commas; without, what .env and a start need"
    )
    parser.add_argument(
        "--missing", action="store_true", help="only what is not finished yet, and has no need of the web"
    )
    parser.add_argument("--weights", type=Path, default=Path(get("RECO_MODELS", "var/models")), help="their folder")
    parser.add_argument(
        "--into", type=Path, default=Path(get("RECO_CACHE", "var/cache")) / "models", help="folder for finished models"
    )
    parser.add_argument("--will-install", action="store_true", help="say nothing where only the converter is missing")
    parser.add_argument("--url", default="", help="MODEL_URL of a liveness model")
    parser.add_argument("--mirror", default=get("RECO_MIRROR", ""), help="folder or http prefix that has weight files")
    parser.add_argument("--env-file", type=Path, default=Path(get("RECO_ENV_FILE", ".env")))
    return parser.parse_args(arguments)


def _named(options: argparse.Namespace) -> list[str]:
    return [name.strip() for names in options.models for name in names.split(",") if name.strip()]


def _order(name: str, options: argparse.Namespace) -> Order:
    return Order(canonical(name), options.weights, options.into, options.url, options.mirror)


def _configured(options: argparse.Namespace) -> list[Order]:
    """The face finder, the selected recognisers and the liveness model. What is only fetched from the web is left to the
    liveness service where just the missing ones are wanted: a start must not wait for it."""
    env = EnvFile(options.env_file).read()
    orders = [_order(name, options) for name in (MTCNN, *env["selected_models"])]
    is_keras = env["model_name"].lower().endswith(".h5")
    if is_keras:
        return [*orders, _liveness(canonical(env["model_name"]), env, options)]
    if options.missing:
        return orders
    alone = [name for name in (MINIFASNET, FR_LIVENESS) if name.lower() == env["model_name"].lower()]
    return orders + [_liveness(name, env, options) for name in alone or (MINIFASNET, FR_LIVENESS)]


def _liveness(name: str, env: Mapping[str, Any], options: argparse.Namespace) -> Order:
    url = "" if name == FR_LIVENESS else env["model_url"]
    return Order(name, env["model_path"], options.into, url, options.mirror)


def _make(order: Order, will_install: bool) -> int:
    try:
        workshop.make(order)
    except ConverterMissing as error:
        if not will_install:
            print(f"{order.name}: {error}", file=sys.stderr)
        return NEEDS_CONVERTER
    except RecoError as error:
        print(f"{order.name}: {error}", file=sys.stderr)
        return FAILED
    print(f"{order.name}: ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
