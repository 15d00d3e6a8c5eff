"""How well faces are told apart: error rates and thresholds of models over the whole chain, detector included.

    python -m tests.quality.evaluate --models Dlib --photos FOLDER [--pairs pairsDevTest.txt] --out FOLDER

FOLDER holds a folder a person. Scored are all pairs of the photos, which is what thresholds for small FMRs need: an FMR
of 0.1 % is not measured on fewer than 1,000 impostor pairs, and not well on fewer than 30,000. With --pairs (LFW's
format) the pairs of that list come first, and "all pairs" are those of the photos it names. Writes report.json, and
roc.png and det.png where matplotlib is installed, of the list to the folder `listed`, of all pairs to `all`.

Rates at a threshold fitted on the very pairs they are measured on are marked as fitted; "held out" are those at
thresholds fitted on other people (tests/quality/crossvalidation.py). Of very many photos not all pairs are scored
(tests/quality/lfw.py). Then come rates within groups of people, of searches by the number of people enrolled, and with
--disguises those of a masked face.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from services.common.errors import RecoError
from services.detector.mtcnn import DetectOptions
from services.embedder.matching import Metric, unit
from services.embedder.recognition import catalogue as models
from tests.quality import tables
from tests.quality.chain import Chain, embed_photos, versions
from tests.quality.claims import PHOTOS, false_claims
from tests.quality.crossvalidation import HeldOut, fit_accuracy, fit_fmr, held_out
from tests.quality.disguise import DISGUISES
from tests.quality.groups import read_groups
from tests.quality.lfw import PairList, all_pairs, pairs_of, read_pairs
from tests.quality.metrics import Distances, best_accuracy, folded_accuracy

TARGETS = (1e-2, 1e-3, 1e-4)

#: What is written as JSON.
Report = dict[str, Any]


def pair_distances(metric: Metric, templates: np.ndarray, pairs: PairList) -> np.ndarray:
    """float64 (n,) distances of the pairs, as the service works them out; infinite where a template is NaN.

    Args:
        templates: float32 (photos, dimension).
    """
    usable = np.isfinite(templates).all(axis=1)
    vectors = np.zeros(templates.shape)
    vectors[usable] = templates[usable] if metric is Metric.EUCLIDEAN else unit(templates[usable])
    result = np.empty(len(pairs.left))
    for start in range(0, len(result), 1 << 16):
        part = slice(start, start + (1 << 16))
        difference = vectors[pairs.left[part]] - vectors[pairs.right[part]]
        squares = np.einsum("ij,ij->i", difference, difference)
        result[part] = squares / 2 if metric is Metric.COSINE else np.sqrt(squares)
    result[~(usable[pairs.left] & usable[pairs.right])] = np.inf
    return result


def score(templates: np.ndarray, pairs: PairList) -> Report:
    """Everything we say of one model: a dict for JSON, by distance."""
    report: Report = {"photos_without_a_face": int((~np.isfinite(templates).all(axis=1)).sum())}
    for metric in Metric:
        values = pair_distances(metric, templates, pairs)
        distances = Distances.of(values, pairs.same)
        eer, eer_threshold = distances.equal_error()
        report[str(metric)] = {
            "accuracy": _accuracy(values, pairs),
            "eer": eer,
            "eer_threshold": eer_threshold,
            "operating_points": [asdict(distances.at_fmr(target)) for target in TARGETS],
            "held_out": {
                "best accuracy": _as_dict(held_out(values, pairs, fit_accuracy)),
                **{f"FMR {target:.2%}": _as_dict(held_out(values, pairs, fit_fmr(target))) for target in TARGETS},
            },
        }
    return report


def _as_dict(found: HeldOut | None) -> Report | None:
    return asdict(found) if found else None


def _accuracy(values: np.ndarray, pairs: PairList) -> Report:
    if pairs.has_folds:
        accuracy, error = folded_accuracy(values, pairs.same, pairs.folds)
        return {"kind": "mean of folds, threshold from the other folds", "value": accuracy, "standard_error": error}
    accuracy, threshold = best_accuracy(values, pairs.same)
    return {"kind": "best threshold on these very pairs", "value": accuracy, "threshold": threshold}


def current_thresholds(name: str, templates: np.ndarray, pairs: PairList) -> Report:
    """FMR and FNMR at the thresholds that the model's record has now."""
    rates = {}
    for metric in Metric:
        threshold = models.find(name).thresholds.at(metric).distance
        distances = Distances.of(pair_distances(metric, templates, pairs), pairs.same)
        rates[str(metric)] = {
            "threshold": threshold,
            "fmr": float(distances.fmr(np.asarray(threshold))),
            "fnmr": float(distances.fnmr(np.asarray(threshold))),
        }
    return rates


def print_report(name: str, report: Report) -> None:
    print(f"\n{name} {report['version']}   photos without a face: {report['photos_without_a_face']}")
    for metric in Metric:
        row, now = report[metric], report["current_thresholds"][metric]
        accuracy = row["accuracy"]
        print(f"  {metric}: accuracy {accuracy['value']:.4f} ({accuracy['kind']}), EER {row['eer']:.4f}")
        for point in row["operating_points"]:
            if point["threshold"] is None:
                print(f"    fitted, FMR {point['target']:.2%}: too few impostor pairs")
            else:
                print(
                    f"    fitted, FMR {point['target']:.2%}: FNMR {point['fnmr']:.4f}, threshold {point['threshold']:.4f}"
                )
        for aim, found in row["held_out"].items():
            print(f"    held out, fitted to {aim}: {_said(found)}")
        print(f"    threshold in use {now['threshold']}: FMR {now['fmr']:.4%}, FNMR {now['fnmr']:.4f}")


def _said(found: Report | None) -> str:
    if found is None:
        return "too few people or pairs"
    least, most = found["fnmr_of_folds"]
    return (
        f"accuracy {found['accuracy']:.4f}, FMR {found['fmr']:.4%}, FNMR {found['fnmr']:.4f} (folds {least:.4f} to "
        f"{most:.4f}), thresholds {found['lowest']:.4f} to {found['highest']:.4f}"
    )


def draw(curves: dict[str, Distances], folder: Path) -> None:
    """roc.png and det.png, cosine distance; nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no ROC and DET pictures", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    for kind, label in (("roc", "TMR = 1 - FNMR"), ("det", "FNMR")):
        figure, axes = pyplot.subplots(figsize=(6, 5))
        for name, distances in curves.items():
            _, fmr, fnmr = distances.curve()
            axes.plot(fmr, 1 - fnmr if kind == "roc" else fnmr, label=name)
        axes.set(xlabel="FMR", ylabel=label, xscale="log", yscale="linear" if kind == "roc" else "log")
        axes.grid(True, which="both", alpha=0.3)
        axes.legend()
        figure.savefig(folder / f"{kind}.png", dpi=120)
        pyplot.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="Dlib", help="joined by commas, as in SELECTED_MODELS")
    parser.add_argument("--photos", type=Path, required=True, help="a folder with a folder a person")
    parser.add_argument("--pairs", type=Path, help="LFW's pairs.txt or pairsDevTest.txt; all pairs if not given")
    parser.add_argument("--out", type=Path, required=True, help="where report.json and the pictures go")
    parser.add_argument("--one-view", action="store_true", help="without the mirror image: half the cost")
    parser.add_argument("--work", type=Path, default=Path("var"), help="folder of models/ and cache/")
    parser.add_argument("--weights", help="RECO_MIRROR: folder or http prefix that has weight files")
    parser.add_argument("--reference", action="store_true", help="find faces step by step as the package mtcnn does")
    parser.add_argument("--groups", type=Path, help="a CSV file, person,group: error rates within each group too")
    parser.add_argument("--disguises", action="store_true", help="a mask and dark glasses painted onto everybody too")
    parser.add_argument("--workers", type=int, help="processes; one a core if not given")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    options = DetectOptions.reference() if arguments.reference else DetectOptions()
    try:
        names = tuple(models.find(name).name for name in arguments.models.split(","))
        pairs = read_pairs(arguments.pairs, arguments.photos) if arguments.pairs else all_pairs(arguments.photos)
        chain = Chain(names, not arguments.one_view, arguments.work, arguments.weights, options)
        started = time.monotonic()
        templates = embed_photos(chain, pairs.photos, arguments.workers)
    except (RecoError, ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    print(f"{len(pairs.photos)} photos in {time.monotonic() - started:.0f} s")
    if arguments.pairs:
        print(f"\n# The pairs of {arguments.pairs.name}")
        write_report(chain, templates, pairs, arguments.out / "listed")
        pairs = pairs_of(pairs.photos)
    print("\n# All pairs")
    write_report(chain, templates, pairs, arguments.out / "all")
    print_claims(templates, pairs)
    print_tables(chain, templates, pairs, arguments)
    return 0


def print_tables(
    chain: Chain, templates: dict[str, np.ndarray], pairs: PairList, arguments: argparse.Namespace
) -> None:
    """By group where groups are given, by the number of people enrolled, and in disguise where that is asked for."""
    groups = read_groups(arguments.groups) if arguments.groups else {}
    for name, vectors in templates.items():
        values = pair_distances(Metric.COSINE, vectors, pairs)
        print("\n".join(tables.of_groups(name, values, pairs, groups)))
        print("\n".join(tables.of_searches(name, vectors, pairs.photos)))
    tables.draw(templates, pairs, arguments.out / "distances.png")
    for disguise in DISGUISES if arguments.disguises else ():
        painted = embed_photos(replace(chain, disguise=disguise), pairs.photos, arguments.workers)
        for name, vectors in templates.items():
            print("\n".join(tables.of_disguise(name, disguise, vectors, painted[name], pairs)))


def print_claims(templates: dict[str, np.ndarray], pairs: PairList) -> None:
    """How false matches add up over pairs, and over models where there are several."""
    thresholds = {name: models.find(name).thresholds.at(Metric.COSINE).distance for name in templates}
    sets = [[name] for name in templates] + ([list(templates)] if len(templates) > 1 else [])
    print(f"\n# False claims: {PHOTOS} photos against {PHOTOS} of another person, cosine, thresholds in use")
    for names in sets:
        found = false_claims(pairs.photos, [(templates[name], thresholds[name]) for name in names])
        if found:
            counts = f"one pair matches in {found.one_pair:.3%}, two in {found.two_pairs:.3%}"
            print(f"  {' + '.join(names)}: of {found.count} claims at least {counts}")


def write_report(chain: Chain, templates: dict[str, np.ndarray], pairs: PairList, folder: Path) -> None:
    """Prints what we know of each model, and writes it to `folder`."""
    genuine, impostor = int(pairs.same.sum()), int((~pairs.same).sum())
    print(f"{genuine} genuine, {impostor} impostor pairs")
    report: Report = {"genuine": genuine, "impostor": impostor, "all_views": chain.mirror, "models": {}}
    for name, version in versions(chain).items():
        now = current_thresholds(name, templates[name], pairs)
        one = {"version": version, **score(templates[name], pairs), "current_thresholds": now}
        report["models"][name] = one
        print_report(name, one)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    draw({n: Distances.of(pair_distances(Metric.COSINE, t, pairs), pairs.same) for n, t in templates.items()}, folder)


if __name__ == "__main__":
    sys.exit(main())
