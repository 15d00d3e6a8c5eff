"""Fetches, checks and converts the weights of recognition and liveness models: `make models MODELS=ArcFace,Dlib`."""

import argparse
import os
import sys
from pathlib import Path

from deploy.models.formats import dlib_dat
from deploy.models.keras.convert import ConverterMissing
from deploy.models.weights import WeightStore
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.embedder.recognition import catalogue as models
from services.embedder.recognition import recogniser as recogniser
from services.embedder.settings import Settings
from services.liveness.model import LivenessModels, ModelSettings

FAILED, NEEDS_CONVERTER = 1, 3
ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Prints a line for each model; returns 1 where one could not be had, 3 where only the converter is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="?", default="", help="names joined by commas; default: SELECTED_MODELS and liveness"
    )
    parser.add_argument("--missing", action="store_true", help="only what is not here yet, or is here as a Keras file")
    options = parser.parse_args()
    settings = Settings.from_environment()
    try:
        env = EnvFile(Path(os.environ.get("RECO_ENV_FILE", ROOT / ".env"))).read()
    except RecoError as err:
        print(f".env: {err}", file=sys.stderr)
        return 1
    names = [name.strip() for name in options.models.split(",") if name.strip()] or list(env.selected_models)
    if options.missing:
        names = [name for name in names if _is_missing(name, settings)]
    ready = [_fetch(name, settings) for name in names]
    if not options.models and not (options.missing and not env.model_name.lower().endswith(".h5")):
        liveness = ModelSettings(env.model_path, env.model_url, env.model_name)
        ready.append(
            _report(
                "liveness", lambda: LivenessModels(lambda: liveness, settings.mirror, cache=settings.cache).current()
            )
        )
    return max(ready, default=0)


def _is_missing(name: str, settings: Settings) -> bool:
    """Whether the folder has no file of that model which services can run as it is."""
    weights = models.find(name).weights
    return not (dlib_dat.find_package_file(weights.name) or (settings.models / weights.name).is_file())


def _fetch(name: str, settings: Settings) -> int:
    store = WeightStore(settings.models, settings.mirror)
    return _report(name, lambda: recogniser.load(models.find(name), store, settings.cache))


def _report(name: str, load) -> int:
    try:
        model = load()
    except RecoError as err:
        missing = isinstance(err, ConverterMissing) or isinstance(err.__cause__, ConverterMissing)
        if not missing:
            print(f"{name}: {err}", file=sys.stderr)
        return NEEDS_CONVERTER if missing else FAILED
    print(f"{name}: ready, version {model.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
