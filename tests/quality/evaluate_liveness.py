"""How well liveness tells attacks from living faces, with boxes by the detector, as Markdown tables.

usage: python -m tests.quality.evaluate_liveness [DATA] [--photos N] [--out FOLDER]

Terms of ISO/IEC 30107-3: APCER, the share of attacks taken for living faces; BPCER, the share of living faces taken
for attacks; both of those faces on which there is a verdict. Where the model says that it cannot judge is counted on
its own. The largest face of a photo counts.

The last table is "held out": photos are put into groups of one source (a person of NUAA with all prints of that person,
a toolkit's samples, a tenth of LFW's people, deepface's portraits), and each group is judged at the threshold that `fit`
chooses from all others. Writes liveness.json, and liveness.png where matplotlib is installed.
"""

import argparse
import json
import os
import random
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.faces import Box, Verdict
from services.detector.model import MODEL, open_finder
from services.detector.mtcnn import DetectOptions, Mtcnn
from services.images.decode import decode
from services.liveness.fusion import FACEPLUGIN_THRESHOLD, FacePluginLiveness, FusedModels
from services.liveness.minifasnet import THRESHOLD, Liveness, MiniFasNet
from services.liveness.model import FACEPLUGIN, MINIFASNET, LivenessModel
from tests.models import finished

#: How each model is opened, and from which score on it takes a face as living.
LIVENESS = {MINIFASNET: MiniFasNet, FACEPLUGIN: FacePluginLiveness}
THRESHOLD_OF = {MINIFASNET: THRESHOLD, FACEPLUGIN: FACEPLUGIN_THRESHOLD}

ATTACKS = ("print", "replay")
LIVING = ("live", "lfw", "deepface")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95)
SEED = 1
#: `fit` refuses at most this share of living faces of each kind.
MOST_REFUSED = 0.08
STEP = 0.05

#: Photos with what was made of them, by kind (a name in ATTACKS or LIVING).
Verdicts = dict[str, list["Judged"]]


@dataclass(frozen=True)
class Judged:
    """A photo and what was made of its largest face; None where no face was found."""

    photo: Path
    face: Liveness | None


@dataclass(frozen=True)
class Judge:
    """A detector and a model one after the other."""

    finder: Mtcnn
    model: LivenessModel

    @classmethod
    def load(cls, data: Path, names: Sequence[str] = (MINIFASNET, FACEPLUGIN)) -> "Judge":
        models = [LIVENESS[name].load(finished(name, data / "weights"), THRESHOLD_OF[name]) for name in names]
        return cls(open_finder(finished(MODEL)), FusedModels(models) if len(models) > 1 else models[0])

    def __call__(self, photo: Path) -> Judged:
        image = decode(photo.read_bytes())
        faces = self.finder.detect(image, DetectOptions())
        if not faces:
            return Judged(photo, None)
        box = max((face.box for face in faces), key=_area)
        return Judged(photo, self.model.check(image, [box])[0])


def photos_of(data: Path, kind: str, count: int) -> list[Path]:
    """The photos of a kind (a name in ATTACKS or LIVING), at most `count`, always the same ones."""
    folder = data / {"lfw": "faces/lfw_dev", "deepface": "faces/deepface"}.get(kind, f"spoof/{kind}")
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return photos if len(photos) <= count else sorted(random.Random(SEED).sample(photos, count))


def error_rate(judged: Iterable[Judged], attack: bool, threshold: float) -> float:
    """APCER of attacks, BPCER of others; 0 to 1; nan where there is no verdict at all."""
    scores = [score for item in judged if (score := _score(item)) is not None]
    wrong = sum((score >= threshold) == attack for score in scores)
    return wrong / len(scores) if scores else float("nan")


def summary(judged: Verdicts, threshold: float) -> Iterator[str]:
    """A Markdown table, a row for each kind of photo."""
    yield "| photos | count | no face | undecidable | real | spoof | error | rate |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind, items in judged.items():
        attack = kind in ATTACKS
        verdicts = [item.face.verdict if item.face else None for item in items]
        counts = [verdicts.count(value) for value in (None, Verdict.UNDECIDABLE, Verdict.REAL, Verdict.SPOOF)]
        rate = error_rate(items, attack, threshold)
        cells = [kind, len(items), *counts, "APCER" if attack else "BPCER", f"{rate:.1%}"]
        yield f"| {' | '.join(map(str, cells))} |"


def sweep(judged: Verdicts) -> Iterator[str]:
    """A Markdown table, a row for each threshold."""
    headings = [f"{'APCER' if kind in ATTACKS else 'BPCER'} {kind}" for kind in judged]
    yield f"| threshold | {' | '.join(headings)} |"
    yield "|---" * (len(headings) + 1) + "|"
    for threshold in THRESHOLDS:
        rates = [f"{error_rate(items, kind in ATTACKS, threshold):.1%}" for kind, items in judged.items()]
        yield f"| {threshold} | {' | '.join(rates)} |"


def fit(judged: Verdicts) -> float:
    """The highest multiple of STEP that refuses at most MOST_REFUSED of each kind of living faces.

    Attacks have no say: those at hand score so much lower than most living faces that they would bear almost any.
    """
    living = [
        items for kind, items in judged.items() if kind in LIVING and any(_score(item) is not None for item in items)
    ]
    steps = [round(number * STEP, 2) for number in range(round(1 / STEP))]
    return max(step for step in steps if all(error_rate(items, False, step) <= MOST_REFUSED for items in living))


def group(kind: str, photo: Path) -> str:
    """Which photos have a source in common."""
    if kind == "lfw":
        return f"LFW's people {zlib.crc32(photo.parent.name.encode()) % 10}"
    source, *rest = photo.name.split("_")
    return f"NUAA's person {rest[0]}" if source == "nuaa" else source if kind not in LIVING[1:] else kind


def held_out(judged: Verdicts) -> dict[str, tuple[float, Verdicts]]:
    """By group: the threshold that fits all others, and the group's photos."""
    groups = sorted({group(kind, item.photo) for kind, items in judged.items() for item in items})
    found = {}
    for name in groups:
        inside, others = (
            {
                kind: [item for item in items if (group(kind, item.photo) == name) is mine]
                for kind, items in judged.items()
            }
            for mine in (True, False)
        )
        found[name] = (fit(others), inside)
    return found


def held_out_rates(judged: Verdicts) -> Iterator[str]:
    """A Markdown table, a row for each kind: errors at thresholds from other groups."""
    found = held_out(judged).values()
    yield "| photos | judged | thresholds | errors | rate |"
    yield "|---|---|---|---|---|"
    for kind in judged:
        parts = [
            (threshold, [item for item in inside[kind] if _score(item) is not None]) for threshold, inside in found
        ]
        parts = [(threshold, items) for threshold, items in parts if items]
        count = sum(len(items) for _, items in parts)
        errors = sum(round(error_rate(items, kind in ATTACKS, threshold) * len(items)) for threshold, items in parts)
        thresholds = sorted({threshold for threshold, _ in parts})
        error = "APCER" if kind in ATTACKS else "BPCER"
        yield f"| {kind} | {count} | {', '.join(map(str, thresholds))} | {errors} | {error} {errors / count:.1%} |"


def videos(judge: Judge, data: Path) -> Iterator[str]:
    """A Markdown table, a row for each video: of a living person (live_…), or of a face on a screen (screen_…)."""
    yield "| video | frames | judged | real |"
    yield "|---|---|---|---|"
    frames = sorted((data / "spoof" / "video").glob("*.jpg"))
    for name in dict.fromkeys(frame.stem.rpartition("_")[0] for frame in frames):
        judged = [judge(frame) for frame in frames if frame.stem.rpartition("_")[0] == name]
        verdicts = [item.face.verdict for item in judged if _score(item) is not None and item.face]
        yield f"| {name} | {len(judged)} | {len(verdicts)} | {verdicts.count(Verdict.REAL)} |"


def write(judged: Verdicts, model: LivenessModel, folder: Path) -> None:
    """liveness.json: the scores (null: no face, or undecidable); liveness.png: error rates by threshold."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = {kind: [_score(item) for item in items] for kind, items in judged.items()}
    report = {
        "model": f"{model.name} {model.version}",
        "threshold_in_use": model.threshold,
        "threshold_fitted_on_all": fit(judged),
        "held_out_thresholds": {name: threshold for name, (threshold, _) in held_out(judged).items()},
        "scores": scores,
    }
    (folder / "liveness.json").write_text(json.dumps(report, indent=2))
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no picture of liveness", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 5))
    thresholds = [number / 200 for number in range(201)]
    for kind, items in judged.items():
        attack = kind in ATTACKS
        rates = [error_rate(items, attack, threshold) for threshold in thresholds]
        label = f"{'APCER' if attack else 'BPCER'} {kind} ({len(items) - [_score(item) for item in items].count(None)})"
        axes.plot(thresholds, rates, linestyle="--" if attack else "-", label=label)
    axes.axvline(model.threshold, color="grey", linewidth=1)
    axes.set(xlabel="threshold (grey: in use)", ylabel="error rate", xlim=(0, 1), ylim=(0, 0.5))
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.savefig(folder / "liveness.png", dpi=120)
    pyplot.close(figure)


def _score(item: Judged) -> float | None:
    """None where there is no face, or no verdict on it."""
    return item.face.score if item.face and item.face.verdict is not Verdict.UNDECIDABLE else None


def _area(box: Box) -> float:
    return box.width * box.height


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=os.environ.get("RECO_TEST_DATA", "../shared/data"))
    parser.add_argument(
        "--models", default=f"{MINIFASNET},{FACEPLUGIN}", help="one, or both, which then judge together"
    )
    parser.add_argument("--photos", type=int, default=300, help="at most so many of each kind")
    parser.add_argument("--out", type=Path, default=Path("var/evaluation"), help="where liveness.json and .png go")
    arguments = parser.parse_args()
    kinds = [kind for kind in ATTACKS + LIVING if photos_of(arguments.data, kind, 1)]
    if not set(kinds) & set(ATTACKS) or not set(kinds) & set(LIVING):
        print(f"{arguments.data} has no photos of attacks and living faces (spoof/, faces/): liveness is not measured")
        return 0
    judge = Judge.load(arguments.data, arguments.models.split(","))
    judged = {kind: [judge(photo) for photo in photos_of(arguments.data, kind, arguments.photos)] for kind in kinds}
    model = judge.model
    print(f"\n# Liveness: {model.name} {model.version}, threshold in use {model.threshold}\n")
    print("\n".join([*summary(judged, model.threshold), "", *sweep(judged)]))
    print(f"\nThreshold fitted on all: {fit(judged)}. Held out, each group at the threshold that fits the others:\n")
    print("\n".join(held_out_rates(judged)))
    print("\nFrames of videos taken for living faces:\n")
    print("\n".join(videos(judge, arguments.data)))
    write(judged, model, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
