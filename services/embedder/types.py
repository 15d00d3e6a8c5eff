"""What the embedder is asked and answers, in domain terms."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common.faces import FaceCrop
from services.embedder.gallery.templates import Template
from services.embedder.matching import Criterion, Fusion, Match, Metric
from services.embedder.recognition.registry import USUAL, Strictness


@dataclass(frozen=True)
class Sample:
    """A face to embed, unless that has been done already.

    Attributes:
        crop: gives its picture when asked (it may be decoded only then); None where there is none.
        templates: those known already; one of another version than the model's now is passed over.
    """

    crop: Callable[[], FaceCrop] | None
    templates: tuple[Template, ...] = ()


@dataclass(frozen=True)
class GalleryPhoto:
    """One photo of a person's gallery; `photo_id` is unique within the person."""

    photo_id: str
    augmented: bool
    face: Sample


@dataclass(frozen=True)
class Enrollment:
    """What is to be stored of a person: `photos`, and of those stored earlier the ones in `keep_photo_ids`.

    Attributes:
        keep_other_models: whether `photos` keep what is stored of them by other models.
    """

    person_id: str
    models: tuple[str, ...]
    photos: tuple[GalleryPhoto, ...]
    keep_photo_ids: frozenset[str] = frozenset()
    keep_other_models: bool = False


@dataclass(frozen=True)
class Claim:
    """Somebody's claim to be a person, to be verified 1:1.

    Attributes:
        probes: faces as photographed, at least one.
        augmented_probes: made from them; looked at only where `probes` do not suffice.
        min_pairs: matching pairs of probes and real photos that verify (as many as there are probes if fewer), >= 1.
        min_augmented_pairs: matching pairs of augmented probes and all photos that verify, >= 1 where there are any.
        strictness: of the thresholds.
    """

    person_id: str
    models: tuple[str, ...]
    metric: Metric
    probes: tuple[Sample, ...]
    augmented_probes: tuple[Sample, ...]
    min_pairs: int
    min_augmented_pairs: int
    strictness: Strictness = USUAL


@dataclass(frozen=True)
class Verification:
    """How a claim fared.

    Attributes:
        verified: by the rule of counting pairs.
        best: the pair of lowest distance relative to its threshold, None where there was none.
        fusion: what the models say together of the probes as photographed; None where none of them was measured.
        templates: of each probe, in the order of the models.
        unenrolled: whether the person has no photos, or lacks a template of one of the models.
    """

    verified: bool
    matching_pairs: int
    matching_augmented_pairs: int
    best: Match | None
    fusion: Fusion | None = None
    templates: tuple[tuple[Template, ...], ...] = ()
    unenrolled: bool = False


@dataclass(frozen=True)
class Search:
    """Faces to be compared with whom there is.

    Attributes:
        probes: at least one.
        top_k: so many people of each probe, 1 to MAX_TOP; 0: whoever is nearest to any of them.
    """

    models: tuple[str, ...]
    metric: Metric
    probes: tuple[Sample, ...]
    top_k: int = 0
    strictness: Strictness = USUAL


@dataclass(frozen=True)
class Identification:
    """How a search went.

    Attributes:
        matches: one a person, best first; with `top_k` one a probe and person, in the order of the probes.
        criteria: that were applied, a model each.
    """

    matches: list[Match]
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class Comparison:
    """A pair of two faces; `fmr`: share of pairs of two people that are as near or nearer, None where nobody measured."""

    probe: int
    other: int
    match: Match
    fmr: float | None


@dataclass(frozen=True)
class SimilarSearch:
    """People who are enrolled, each to be compared with all others."""

    person_ids: tuple[str, ...]
    models: tuple[str, ...]
    metric: Metric
    strictness: Strictness = USUAL


@dataclass(frozen=True)
class IndexSize:
    """How many templates the search index of a model holds."""

    model: str
    templates: int


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, by which distance it decides, and the false match rate this stands for; `source`: see Thresholds."""

    name: str
    version: str
    dimension: int
    threshold: float
    source: str
    fmr: float | None = None
