"""How well liveness tells attacks from living faces, with boxes by the detector, as Markdown tables.

usage: python -m tests.quality.evaluate_liveness [DATA] [--photos N]

Terms of ISO/IEC 30107-3: APCER, the share of attacks taken for living faces; BPCER, the share of living faces taken
for attacks; both of those faces on which there is a verdict. Where the model says that it cannot judge is counted on
its own. The largest face of a photo counts.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.common.faces import Box
from services.common.images import decode
from services.common.inference import open_session
from services.detector.mtcnn import DetectOptions, Mtcnn
from services.detector.weights import mtcnn_networks
from services.liveness.minifasnet import Liveness, MiniFasNet, Verdict
from services.liveness.weights import minifasnet_files

ATTACKS = ("print", "replay")
LIVING = ("live", "lfw", "deepface")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95)
SEED = 1


@dataclass(frozen=True)
class Judged:
    """A photo and what was made of its largest face; None where no face was found."""

    photo: Path
    face: Liveness | None


@dataclass(frozen=True)
class Judge:
    """A detector and a model one after the other."""

    finder: Mtcnn
    model: MiniFasNet

    @classmethod
    def load(cls, data: Path, cache: Path) -> "Judge":
        networks = mtcnn_networks(cache)
        finder = Mtcnn(*(open_session(path) for path in (networks.pnet, networks.rnet, networks.onet)))
        folder = data / "weights" / "minifasnet"
        files = {scale: folder / file.name for scale, file in minifasnet_files().items()}
        return cls(finder, MiniFasNet.load(files))

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
    scores = [item.face.score for item in judged if _decided(item)]
    wrong = sum((score >= threshold) == attack for score in scores)
    return wrong / len(scores) if scores else float("nan")


def summary(judged: dict[str, list[Judged]], threshold: float) -> Iterator[str]:
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


def sweep(judged: dict[str, list[Judged]]) -> Iterator[str]:
    """A Markdown table, a row for each threshold."""
    headings = [f"{'APCER' if kind in ATTACKS else 'BPCER'} {kind}" for kind in judged]
    yield f"| threshold | {' | '.join(headings)} |"
    yield "|---" * (len(headings) + 1) + "|"
    for threshold in THRESHOLDS:
        rates = [f"{error_rate(items, kind in ATTACKS, threshold):.1%}" for kind, items in judged.items()]
        yield f"| {threshold} | {' | '.join(rates)} |"


def _decided(item: Judged) -> bool:
    return item.face is not None and item.face.verdict is not Verdict.UNDECIDABLE


def _area(box: Box) -> float:
    return box.width * box.height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=os.environ.get("RECO_TEST_DATA", "../shared/data"))
    parser.add_argument("--photos", type=int, default=300, help="at most so many of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        judge = Judge.load(arguments.data, Path(cache))
    kinds = ATTACKS + LIVING
    judged = {kind: [judge(photo) for photo in photos_of(arguments.data, kind, arguments.photos)] for kind in kinds}
    model = judge.model
    print(f"{model.name} {model.version}, threshold {model.threshold}\n")
    print("\n".join([*summary(judged, model.threshold), "", *sweep(judged)]))


if __name__ == "__main__":
    main()
