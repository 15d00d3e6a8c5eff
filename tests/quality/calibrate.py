"""`make calibrate`: thresholds for a site, fitted on its own people.

    python -m tests.quality.calibrate --models MobileFaceNet [--photos FOLDER] --out FOLDER

FOLDER holds a folder a person; without it the enrolled people of the database are taken, by their IDs, with their photos
as they were enrolled and nothing made of them. Writes the file that the embedder reads when it starts (RECO_CALIBRATION),
and to --out a picture of the distances, where matplotlib is installed.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from services.common.database import Database
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import model_key
from services.embedder.matching import Metric
from services.embedder.recognition import calibration, catalogue
from services.embedder.recognition.thresholds import RATES, Curve
from services.embedder.settings import Settings
from tests.quality.chain import Chain, embed_photos, versions
from tests.quality.evaluate import pair_distances
from tests.quality.lfw import PairList, all_pairs, pairs_of

#: Photos of enrolled people that are taken at most: two million pairs.
MOST_PHOTOS = 2000


@dataclass(frozen=True)
class Faces:
    """Templates of one model, float32 (n, d), NaN where no face was found, and all pairs of them."""

    templates: np.ndarray
    pairs: PairList

    def scores(self, metric: Metric) -> calibration.Scores:
        """Distances of the pairs of which both have a face."""
        values = pair_distances(metric, self.templates, self.pairs)
        found = np.isfinite(values)
        return calibration.Scores(values[found & self.pairs.same], values[found & ~self.pairs.same])

    @property
    def people(self) -> int:
        """How many different ones."""
        return len({photo.parent.name for photo in self.pairs.photos})


def of_folder(chain: Chain, folder: Path) -> dict[str, Faces]:
    """By model, the faces of the photos in a folder of people."""
    pairs = all_pairs(folder)
    return {name: Faces(templates, pairs) for name, templates in embed_photos(chain, pairs.photos).items()}


def of_gallery(chain: Chain, gallery: Gallery) -> dict[str, Faces]:
    """By model, the faces of enrolled people."""
    faces = {}
    for name, version in versions(chain).items():
        rows = list(islice(_enrolled(gallery, model_key(name, version)), MOST_PHOTOS))
        pairs = pairs_of(tuple(Path(person_id) / photo_id for person_id, photo_id, _ in rows))
        faces[name] = Faces(np.stack([vector for _, _, vector in rows]), pairs)
    return faces


def _enrolled(gallery: Gallery, model: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Person, photo and template of each photo that was taken rather than made."""
    for batch in gallery.everything(model):
        for person_id, stored in batch.items():
            taken = stored.real()
            for photo_id, vector in zip(taken.photo_ids, taken.vectors, strict=True):
                yield person_id.replace("/", "_"), photo_id, vector


def fit(name: str, faces: Faces, source: str) -> Curve:
    """Fits one model's thresholds, and says what came of it; raises TooLittle."""
    shipped = catalogue.find(name).thresholds
    if not isinstance(shipped, Curve):
        raise calibration.TooLittle(
            "nobody has measured how its thresholds fall, so they cannot be fitted on few people"
        )
    cosine, euclidean = faces.scores(Metric.COSINE), faces.scores(Metric.EUCLIDEAN)
    done = calibration.fit(shipped, cosine, euclidean, faces.people, source)
    print(f"\n{name}: {faces.people} people, {len(cosine.genuine)} pairs of one, {len(cosine.impostor)} of two")
    print("  FMR      shipped (matching here)   calibrated (FNMR here)")
    for number, rate in enumerate(RATES):
        before, after = shipped.cosine[number], done.curve.cosine[number]
        known = "" if rate >= done.lowest_measured else "   reckoned: too few pairs to tell"
        matching = float((cosine.impostor <= before).mean())
        used = "   in use" if rate == done.curve.usual_fmr else ""
        refused = done.curve.fnmr[number]
        print(f"  {rate:7.3%}  {before:.4f} ({matching:8.3%})        {after:.4f} ({refused:.2%}){known}{used}")
    return done.curve


def draw(file: Path, name: str, faces: Faces, curve: Curve) -> None:
    """How the distances lie, and the thresholds in use; nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    scores = faces.scores(Metric.COSINE)
    shipped = catalogue.find(name).thresholds.at(Metric.COSINE)
    figure, axes = pyplot.subplots(figsize=(7, 4))
    bins = list(np.linspace(0, max(1.2 * curve.cosine[0], float(np.quantile(scores.impostor, 0.99))), 80))
    for label, values in (("one person", scores.genuine), ("two people", scores.impostor)):
        axes.hist(values, bins=bins, density=True, histtype="step", label=label)
    axes.axvline(shipped.distance, linestyle=":", color="grey", label="shipped threshold")
    axes.axvline(curve.at(Metric.COSINE).distance, color="black", label="calibrated threshold")
    axes.set(xlabel="cosine distance", ylabel="density", yscale="log", title=name)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="joined by commas, as in SELECTED_MODELS")
    parser.add_argument("--photos", type=Path, help="a folder with a folder a person; the enrolled people if not given")
    parser.add_argument("--out", type=Path, required=True, help="where pictures go")
    parser.add_argument("--work", type=Path, default=Path("var"), help="folder of models/ and cache/")
    arguments = parser.parse_args()
    settings = Settings.from_environment()
    curves = {}
    try:
        names = tuple(catalogue.find(name).name for name in arguments.models.split(","))
        chain = Chain(names, True, arguments.work, os.environ.get("RECO_MIRROR"))
        if arguments.photos:
            measured, source = of_folder(chain, arguments.photos), str(arguments.photos)
        else:
            env_file = EnvFile(settings.env_file)
            database = Database(env_file.root)
            gallery = Gallery(lambda: database.engine(env_file.sql()), settings.keyring)
            measured, source = of_gallery(chain, gallery), "the enrolled people"
        for name, faces in measured.items():
            curves[name] = fit(name, faces, f"make calibrate, {source}: {faces.people} people")
            draw(arguments.out / f"{name}.png", name, faces, curves[name])
    except (RecoError, ValueError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    calibration.write(settings.calibration, curves)
    print(f"\nwritten to {settings.calibration}: the embedder reads it when it starts again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
