"""Hand-written stand-ins for what is slow or heavy, for tests of one unit: a recogniser, and the gateway's stages."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.common.errors import InvalidImage, UnknownModel
from services.common.faces import Box, FaceCrop, Verdict, View
from services.embedder.matching import Metric
from services.embedder.recognition.registry import Recognisers
from services.embedder.recognition.thresholds import Threshold, Thresholds
from services.gateway.stages import types as stages

LANDMARKS = np.array([[20, 25], [40, 25], [30, 35], [22, 45], [38, 45]], dtype=np.float32)


def fake_crop(identity: int, shot: int = 0) -> FaceCrop:
    """A picture that FakeRecogniser takes for the given person (0 to 255), another one for each shot (0 to 255)."""
    pixels = np.zeros((64, 60, 3), dtype=np.uint8)
    pixels[:, :] = (identity, shot, 0)
    return FaceCrop(pixels, LANDMARKS.copy())


@dataclass(frozen=True)
class FakeThresholds:
    """Thresholds that grow by a quarter of the usual ones, which stand for one in ten thousand, with each power of ten."""

    source: str = "made up"
    usual_fmr: float = 1e-4

    def at(self, metric: Metric, fmr: float | None = None) -> Threshold:
        rate = fmr or self.usual_fmr
        return Threshold(self._usual(metric) * (1 + math.log10(rate / self.usual_fmr) / 4), rate, 0.05)

    def fmr_at(self, metric: Metric, distance: float) -> float | None:
        return float(self.usual_fmr * 10 ** (4 * (distance / self._usual(metric) - 1)))

    def _usual(self, metric: Metric) -> float:
        return {Metric.COSINE: 0.3, Metric.EUCLIDEAN: 4.0, Metric.EUCLIDEAN_L2: 0.7}[metric]


@dataclass(frozen=True)
class FakeSpec:
    name: str
    dimension: int = 32
    thresholds: Thresholds = FakeThresholds()  # noqa: RUF009


class FakeRecogniser:
    """Embeds the pictures of `fake_crop`: two shots of one person come out near each other, two people far apart."""

    def __init__(self, name: str, version: str = "1", dimension: int = 32):
        self.name = name
        self.version = version
        self.dimension = dimension
        self.embedded = 0

    def embed(self, crops: Sequence[FaceCrop]) -> np.ndarray:
        self.embedded += len(crops)
        return np.stack([self.template(*crop.pixels[0, 0, :2].tolist()) for crop in crops])

    def template(self, identity: int, shot: int = 0) -> np.ndarray:
        """float32 (dimension,): what `embed` gives for fake_crop(identity, shot)."""
        person = np.random.default_rng(identity).normal(size=self.dimension)
        change = np.random.default_rng((identity, shot)).normal(size=self.dimension)
        return (person + 0.2 * change).astype(np.float32)


def fake_recognisers(*recognisers: FakeRecogniser) -> Recognisers:
    """A provider of these models and no others."""
    by_name = {recogniser.name: recogniser for recogniser in recognisers}

    def find(name: str) -> FakeSpec:
        if name not in by_name:
            raise UnknownModel(f"there is no model {name}")
        return FakeSpec(name, by_name[name].dimension)

    return Recognisers(find, by_name.__getitem__)


class Killed(BaseException):
    """The process dies here."""


class Steps:
    """What the gateway's fakes do, step by step (`photos.publish`): counted, and stopped where a test says so."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._actions: dict[str, Callable[[], object]] = {}

    def before(self, step: str, action: Callable[[], object]) -> None:
        """Calls `action` before that step, every time until `clear`."""
        self._actions[step] = action

    def fail(self, step: str, error: BaseException) -> None:
        """Raises an error instead of that step, every time until `clear`."""

        def action() -> None:
            raise error

        self.before(step, action)

    def clear(self) -> None:
        """Nothing is stopped from here on, and counts begin anew."""
        self._actions.clear()
        self.counts.clear()

    def reach(self, step: str) -> None:
        self.counts[step] += 1
        self._actions.get(step, lambda: None)()


@dataclass(frozen=True)
class FakeFace:
    """A face in a fake photo; `angle` tells pictures of one person apart, see FakeEmbedder."""

    person: str
    angle: float = 0.0
    verdict: Verdict = Verdict.REAL
    quarter_turns: int = 0


def fake_photo(*faces: FakeFace | str, score: float = 9.0) -> bytes:
    """A photo that the gateway's fakes understand; a face may be given by its person's name."""
    found = [face if isinstance(face, FakeFace) else FakeFace(face) for face in faces]
    rows = [[face.person, face.angle, face.verdict.value, face.quarter_turns] for face in found]
    return json.dumps({"score": score, "faces": rows}).encode()


def _read(image: bytes) -> dict[str, Any]:
    try:
        text = image[image.find(b"{") :].decode("latin-1")  # after what any format begins with, and before how it ends
        content: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    except ValueError as err:
        raise InvalidImage("this is no fake photo") from err
    return content


def _faces(image: bytes) -> list[FakeFace]:
    return [FakeFace(person, angle, Verdict(verdict), turns) for person, angle, verdict, turns in _read(image)["faces"]]


def _crop_file(face: FakeFace) -> stages.CropFile:
    return stages.CropFile(fake_photo(face), tuple((float(x), float(y)) for x, y in LANDMARKS))


class FakeDetector:
    """Finds the faces of a fake photo at x = 0, 100, 200 …, each larger than the one before.

    Augmented versions of a face have half its angle, a quarter, an eighth …
    """

    def __init__(self, steps: Steps):
        self._steps = steps

    def score(self, image: bytes) -> stages.PhotoQuality:
        self._steps.reach("detector.score")
        return stages.PhotoQuality(_read(image)["score"], {})

    def detect(self, image: bytes, size: tuple[int, int], views: tuple[View, ...] = ()) -> stages.Detection:
        self._steps.reach("detector.detect")
        return stages.Detection(tuple(_find(image, 0)), image, (0, 0), views)

    def prepare(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[stages.FoundFace]:
        self._steps.reach("detector.prepare")
        return _find(image, augmentations)

    def augment(self, image: bytes, size: tuple[int, int], augmentations: int) -> list[stages.FoundFace]:
        self._steps.reach("detector.augment")
        return _find(image, augmentations)


def _find(image: bytes, augmentations: int) -> list[stages.FoundFace]:
    found = []
    for number, face in enumerate(_faces(image)):
        augmented = [_crop_file(replace(face, angle=face.angle / 2**n)) for n in range(1, augmentations + 1)]
        box = Box(100.0 * number, 0.0, 50.0 + number, 50.0 + number)
        points = tuple(
            (box.x + x, y) for x, y in ((15.0, 20.0), (35.0, 20.0), (25.0, 31.0), (17.0, 43.0), (33.0, 43.0))
        )
        found.append(stages.FoundFace(box, _crop_file(face), tuple(augmented), face.quarter_turns, points))
    return found


class FakeLiveness:
    """Knows the verdicts of the faces in a fake photo by their boxes, if it is told how they are turned.

    Attributes:
        views: in which it wants to see faces.
        seen: the views that it was shown faces in, of each call.
    """

    def __init__(self, steps: Steps):
        self._steps = steps
        self.views: tuple[View, ...] = (View(2.7, 80, 120),)
        self.seen: list[tuple[View, ...]] = []

    def check(self, found: stages.Detection) -> list[stages.FaceLiveness]:
        self._steps.reach("liveness.check")
        self.seen.append(found.views)
        everyone = _faces(found.image)
        faces = [everyone[round(face.box.x / 100)] for face in found.faces]
        told = [face.quarter_turns for face in faces] == [face.quarter_turns for face in found.faces]
        return [stages.FaceLiveness(face.verdict if told else Verdict.UNDECIDABLE, 0.5) for face in faces]


@dataclass(frozen=True)
class FakeStored:
    """What FakeEmbedder keeps of a photo."""

    augmented: bool
    templates: tuple[stages.FaceTemplate, ...]


class FakeEmbedder:
    """Compares faces by person and angle: two pictures of one person are as far apart as their angles, others by 1.

    Attributes:
        stored: by person and photo ID.
        embedded: how many crops were.
        version: of all models.
        fusion: what all models say together of whoever is compared.
    """

    threshold = 0.4

    def __init__(self, steps: Steps):
        self.stored: dict[str, dict[str, FakeStored]] = {}
        self.embedded = 0
        self.version = "1"
        self.fusion: stages.FusedDecision | None = None
        self._steps = steps
        self._epoch = 0

    def drop_templates(self) -> None:
        """As the RPC of that name."""
        self.stored.clear()
        self._epoch += 1

    def embed(self, models: Sequence[str], crops: Sequence[stages.CropFile]) -> list[tuple[stages.FaceTemplate, ...]]:
        self._steps.reach("embedder.embed")
        return [self._templates(models, crop) for crop in crops]

    def enroll(
        self,
        person_id: str,
        models: Sequence[str],
        photos: Sequence[stages.EnrollmentPhoto],
        keep: Sequence[str],
        keep_other_models: bool = False,
    ) -> None:
        self._steps.reach("embedder.enroll")
        before = self.stored.get(person_id, {})
        stored = {name: photo for name, photo in before.items() if name in keep}
        for photo in photos:
            templates = self._known(models, photo.face)
            if keep_other_models and photo.photo_id in before:
                others = before[photo.photo_id].templates
                templates += tuple(one for one in others if one.model not in models)
            stored[photo.photo_id] = FakeStored(photo.augmented, templates)
        self.stored[person_id] = stored

    def enroll_people(self, models: Sequence[str], people: Sequence[stages.EnrolledPerson]) -> None:
        for person in people:
            self.enroll(person.person_id, models, person.photos, person.keep)

    def templates_of(self, models: Sequence[str], person_ids: Sequence[str]) -> stages.PhotoTemplates:
        self._steps.reach("embedder.templates_of")
        return {
            (person_id, name): tuple(one for one in photo.templates if one.model in models)
            for person_id in person_ids
            for name, photo in self.stored.get(person_id, {}).items()
        }

    def drop_others(self, models: Sequence[str]) -> None:
        self._steps.reach("embedder.drop_others")
        for photos in self.stored.values():
            for name, photo in photos.items():
                photos[name] = replace(photo, templates=tuple(one for one in photo.templates if one.model in models))

    def remove(self, person_id: str) -> None:
        self._steps.reach("embedder.remove")
        self.stored.pop(person_id, None)

    def unenrolled(self, person_ids: Sequence[str], models: Sequence[str]) -> list[str]:
        self._steps.reach("embedder.unenrolled")
        wanted = {(model, self.version) for model in models}
        return [person_id for person_id in person_ids if not self._has(person_id, wanted)]

    def verify(
        self,
        person_id: str,
        measure: stages.Measure,
        needed: tuple[int, int],
        probes: Sequence[stages.Probe],
        augmented: Sequence[stages.CropFile] = (),
    ) -> stages.ClaimDecision:
        self._steps.reach("embedder.verify")
        templates = tuple(self._known(measure.models, probe) for probe in probes)
        threshold = measure.limit.threshold or self.threshold
        changed = [self._templates(measure.models, crop) for crop in augmented]
        photos = self.stored.get(person_id, {}).values()
        real = _distances(templates, [photo for photo in photos if not photo.augmented])
        others = _distances(changed, photos)
        matching = [sum(distance <= threshold for distance in distances) for distances in (real, others)]
        verified = matching[0] >= min(needed[0], len(probes)) or matching[1] >= needed[1]
        best = stages.PersonMatch(person_id, min(real + others), threshold) if real + others else None
        lacking = not self._has(person_id, {(model, self.version) for model in measure.models})
        return stages.ClaimDecision(verified, best, self.fusion, templates, lacking)

    def generation(self, models: Sequence[str]) -> str:
        self._steps.reach("embedder.generation")
        return f"{self._epoch} {self.version}"

    def identify(
        self,
        measure: stages.Measure,
        probes: Sequence[tuple[stages.FaceTemplate, ...]],
        top_k: int = 0,
    ) -> stages.IdentifiedPeople:
        self._steps.reach("embedder.identify")
        threshold = measure.limit.threshold or self.threshold
        asked = [(number, [probe]) for number, probe in enumerate(probes)] if top_k else [(0, list(probes))]
        matches: list[stages.PersonMatch] = []
        for number, some in asked:
            nearest = [
                stages.PersonMatch(person_id, near, threshold, 1e-4, 100 - 50 * near / self.threshold, "Fake", number)
                for person_id, photos in self.stored.items()
                if (distances := _distances(some, photos.values()))
                for near in [min(distances)]
            ]
            found = sorted((match for match in nearest if match.distance <= threshold), key=lambda one: one.distance)
            matches += found[:top_k] if top_k else found
        applied = tuple(stages.AppliedThreshold(model, threshold, 1e-4) for model in measure.models)
        return stages.IdentifiedPeople(tuple(matches), self.generation(measure.models), applied)

    def compare(
        self,
        measure: stages.Measure,
        probes: Sequence[tuple[stages.FaceTemplate, ...]],
        others: Sequence[tuple[stages.FaceTemplate, ...]],
    ) -> list[stages.FacePair]:
        self._steps.reach("embedder.compare")
        threshold = measure.limit.threshold or self.threshold
        return [
            stages.FacePair(number, other, distance <= threshold, "Fake", distance, threshold, 50.0, 1e-4)
            for number, probe in enumerate(probes)
            for other, theirs in enumerate(others)
            for distance in [min(_distances([probe], [FakeStored(False, theirs)]))]
        ]

    def similar(self, measure: stages.Measure, person_ids: Sequence[str]) -> list[tuple[str, stages.PersonMatch]]:
        self._steps.reach("embedder.similar")
        pairs = []
        for person_id in person_ids:
            taken = [photo.templates for photo in self.stored.get(person_id, {}).values() if not photo.augmented]
            found = self.identify(measure, taken).matches if taken else ()
            pairs += [(person_id, match) for match in found if match.person_id != person_id]
        return pairs

    def rebuild_index(self, models: Sequence[str]) -> list[str]:
        self._steps.reach("embedder.rebuild_index")
        return list(models)

    def describe(self, measure: stages.Measure) -> list[stages.RecogniserFacts]:
        self._steps.reach("embedder.describe")
        return [stages.RecogniserFacts(name, self.version, 2, self.threshold, "made up") for name in measure.models]

    def _known(self, models: Sequence[str], face: stages.Probe) -> tuple[stages.FaceTemplate, ...]:
        return self._templates(models, face) if isinstance(face, stages.CropFile) else face

    def _templates(self, models: Sequence[str], crop: stages.CropFile) -> tuple[stages.FaceTemplate, ...]:
        self.embedded += 1
        (face,) = _faces(crop.image)
        return tuple(stages.FaceTemplate(model, self.version, (_number(face.person), face.angle)) for model in models)

    def _has(self, person_id: str, wanted: set[tuple[str, str]]) -> bool:
        photos = self.stored.get(person_id, {}).values()
        return bool(photos) and all(wanted <= {(t.model, t.version) for t in photo.templates} for photo in photos)


def _number(person: str) -> float:
    return float(int.from_bytes(person.encode(), "big"))


def _distances(probes: Iterable[tuple[stages.FaceTemplate, ...]], photos: Iterable[FakeStored]) -> list[float]:
    """Of each probe's templates to each photo's templates of the same model."""
    ours, theirs = [t for probe in probes for t in probe], [t for photo in photos for t in photo.templates]
    pairs = [(a.vector, b.vector) for a in ours for b in theirs if (a.model, a.version) == (b.model, b.version)]
    return [abs(a[1] - b[1]) if a[0] == b[0] else 1.0 for a, b in pairs]
