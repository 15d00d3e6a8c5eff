"""Tables of error rates in Markdown: within groups, of searches, in disguise; and a picture of the distances."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from services.embedder.matching import Metric, unit
from services.embedder.recognition import catalogue
from services.embedder.recognition.rates import Rates
from services.embedder.recognition.thresholds import Threshold
from tests.quality.groups import rates_by_group
from tests.quality.identification import SIZES, rates_by_size
from tests.quality.lfw import PairList


def of_groups(name: str, values: np.ndarray, pairs: PairList, groups: Mapping[str, str]) -> Iterator[str]:
    """FMR and FNMR within each group, at the cosine threshold in use."""
    threshold = _in_use(name)
    yield f"\n# {name}, within groups, at the threshold in use, cosine {threshold.distance:.4f}"
    yield "| group | people | pairs of two | FMR | pairs of one | FNMR |"
    yield "|---|---|---|---|---|---|"
    for one in rates_by_group(values, pairs, groups, threshold.distance):
        rates = ["–" if rate is None else f"{rate:.3%}" for rate in (one.fmr, one.fnmr)]
        yield f"| {one.group} | {one.people} | {one.impostor} | {rates[0]} | {one.genuine} | {rates[1]} |"


def of_searches(name: str, templates: np.ndarray, photos: Sequence[Path]) -> Iterator[str]:
    """FPIR and FNIR by the number of people enrolled, at the thresholds in use."""
    usual = _in_use(name)
    known = catalogue.find(name).thresholds
    thresholds = {
        size: known.at(Metric.COSINE, Rates().of_search(usual.fmr, size)) if usual.fmr else usual for size in SIZES
    }
    yield f"\n# {name}, searches, one photo a person enrolled"
    yield "| people | threshold | FPIR | strangers' searches | FNIR | searches of people enrolled |"
    yield "|---|---|---|---|---|---|"
    for one in rates_by_size(templates, [photo.parent.name for photo in photos], thresholds):
        yield (
            f"| {one.people} | {one.threshold:.4f} | {one.fpir:.2%} | {one.strangers} | {one.fnir:.1%} | {one.mates} |"
        )


def of_disguise(name: str, disguise: str, templates: np.ndarray, painted: np.ndarray, pairs: PairList) -> Iterator[str]:
    """FMR and FNMR where the second photo of each pair is painted."""
    threshold = _in_use(name).distance
    left, right = templates[pairs.left], painted[pairs.right]
    usable = np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
    values = np.full(len(pairs.left), np.inf)
    values[usable] = np.square(unit(left[usable]) - unit(right[usable])).sum(axis=1) / 2
    lost = float((~np.isfinite(painted).all(axis=1)).mean())
    yield f"\n# {name}, {disguise}: no face found in {lost:.1%}"
    yield f"FMR {(values <= threshold)[~pairs.same].mean():.4%}, FNMR {(values > threshold)[pairs.same].mean():.1%}"


def draw(templates: Mapping[str, np.ndarray], pairs: PairList, file: Path) -> None:
    """The cosine distances of pairs of one person and of two; nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no picture of the distances", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(templates), 1, figsize=(7, 3 * len(templates)), squeeze=False)
    for (name, vectors), axis in zip(templates.items(), axes[:, 0], strict=True):
        directions = unit(np.nan_to_num(vectors, nan=1.0))
        values = 1 - np.einsum("ij,ij->i", directions[pairs.left], directions[pairs.right])
        bins = list(np.linspace(0, float(np.quantile(values, 0.9999)), 100))
        for label, chosen in (("one person", pairs.same), ("two people", ~pairs.same)):
            axis.hist(values[chosen], bins=bins, density=True, histtype="step", label=label)
        axis.axvline(_in_use(name).distance, color="grey", label="threshold in use")
        axis.set(title=name, xlabel="cosine distance", yscale="log")
        axis.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _in_use(name: str) -> Threshold:
    return catalogue.find(name).thresholds.at(Metric.COSINE)
