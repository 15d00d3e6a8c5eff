"""Recognisers of one's own: a YAML card each, in a folder, is all that an ONNX network needs.

RECO_MODEL_CARDS names the folder (`var/cards` if it is not set); the cards in `cards` beside this file are there as well.
docs/models.md says what a card holds.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from services.common.errors import UnknownModel

#: Cards that come with RECO.
SHIPPED = Path(__file__).with_name("cards")

#: A card's bytes, at most; cards of a folder; sides of an input, pixels; numbers of a template.
MAX_BYTES, MAX_CARDS, MAX_SIDE, MAX_DIMENSION = 16_384, 100, 1024, 8192

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
SHA256 = re.compile(r"[0-9a-f]{64}")

#: Fields that must be there, and those that need not.
NEEDED = ("name", "licence", "training", "dimension", "input", "alignment", "thresholds")
OPTIONAL = ("url", "file", "sha256", "order", "mean", "scale", "per_image", "unit_length", "mirror")


class BadCard(UnknownModel, ValueError):
    """A card does not say what it must; the message names the file and the field."""


@dataclass(frozen=True)
class Card:
    """An ONNX recogniser.

    Attributes:
        name: as in SELECTED_MODELS.
        file: name of the ONNX file, float32 (n, height, width, 3) or (n, 3, height, width) → (n, dimension).
        url: where it comes from; of a file beside the card its own address; empty: it is put into the folder of weights.
        sha256: of the file, in hexadecimal; None: recorded when it is first seen.
        licence, training: of the weights, and what they were trained on.
        width, height: of the input, pixels.
        order: "rgb" or "bgr".
        mean, scale: (pixel - mean) * scale is the input; `per_image`: each picture's own mean and deviation come first.
        points: of the five landmarks in the input; None: ArcFace's, for 112 × 112.
        dimension: of a template.
        unit_length: templates are brought to unit length.
        mirror: a template is the mean over the face and its mirror image.
        thresholds: by metric.
        source: of the thresholds.
    """

    name: str
    file: str
    url: str
    sha256: str | None
    licence: str
    training: str
    width: int
    height: int
    order: str
    mean: tuple[float, float, float]
    scale: float
    per_image: bool
    points: tuple[tuple[float, float], ...] | None
    dimension: int
    unit_length: bool
    mirror: bool
    thresholds: Mapping[str, float]
    source: str


def cards() -> dict[str, Card]:
    """All cards by name in lower case; one of your own goes before one that comes with RECO.

    Raises:
        BadCard: one cannot be read.
    """
    own = Path(os.environ.get("RECO_MODEL_CARDS") or "var/cards")
    files = [*sorted(SHIPPED.glob("*.yaml")), *sorted(own.glob("*.yaml"))[:MAX_CARDS]]
    found = (_read(file.absolute(), _state(file)) for file in files)
    return {card.name.lower(): card for card in found}


def _state(file: Path) -> tuple[int, int]:
    try:
        state = file.stat()
    except OSError as err:
        raise BadCard(f"{file} cannot be read: {err}") from err
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=2 * MAX_CARDS)
def _read(file: Path, state: tuple[int, int]) -> Card:
    """`state`: whatever tells this content of the file from another."""
    if state[1] > MAX_BYTES:
        raise BadCard(f"{file} is larger than {MAX_BYTES} bytes")
    try:
        text = file.read_text()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise BadCard(f"{file}: references (*name) are not taken")
        return _card(file, yaml.safe_load(text))
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as err:
        raise BadCard(f"{file} is no YAML file: {' '.join(str(err).split())[:200]}") from err


def _card(file: Path, content: object) -> Card:
    if not isinstance(content, dict):
        raise BadCard(f"{file}: fields are wanted, a line each")
    fields = _Fields(file, content)
    fields.check_names((*NEEDED, *OPTIONAL), NEEDED)
    name, (network, url) = fields.text("name", NAME), _whence(file, fields)
    size = fields.numbers("input", ("width", "height"), 16, MAX_SIDE)
    thresholds = fields.part("thresholds", ("cosine", "euclidean", "euclidean_l2", "source"))
    mean = fields.listed("mean", 3) if "mean" in content else (0.0, 0.0, 0.0)
    return Card(
        name=name,
        file=network,
        url=url,
        sha256=fields.text("sha256", SHA256) if "sha256" in content else None,
        licence=fields.text("licence"),
        training=fields.text("training"),
        width=int(size["width"]),
        height=int(size["height"]),
        order=fields.choice("order", ("rgb", "bgr")),
        mean=(mean[0], mean[1], mean[2]),
        scale=fields.number("scale", 1e-6, 1e3, 1.0),
        per_image=fields.flag("per_image"),
        points=_points(fields, size),
        dimension=int(fields.number("dimension", 1, MAX_DIMENSION)),
        unit_length=fields.flag("unit_length"),
        mirror=fields.flag("mirror"),
        thresholds={name: thresholds.number(name, 1e-6, 1e6) for name in ("cosine", "euclidean", "euclidean_l2")},
        source=thresholds.text("source"),
    )


def _whence(file: Path, fields: "_Fields") -> tuple[str, str]:
    """The network's file name, and its address."""
    url = fields.text("url", re.compile(r"https?://\S{1,500}")) if "url" in fields.content else ""
    name = fields.text("file", re.compile(r"[\w.-]{1,100}\.onnx")) if "file" in fields.content else ""
    name = name or url.partition("?")[0].rpartition("/")[2]
    if not re.fullmatch(r"[\w.-]{1,100}\.onnx", name) or name.startswith("."):
        raise BadCard(f"{file}: url or file must name a file that ends in .onnx, without a folder")
    beside = file.with_name(name)
    return name, url or (beside.as_uri() if beside.is_file() else "")


def _points(fields: "_Fields", size: Mapping[str, float]) -> tuple[tuple[float, float], ...] | None:
    value = fields.content["alignment"]
    if value == "arcface":
        if (size["width"], size["height"]) != (112, 112):
            raise BadCard(f"{fields.file}: alignment: arcface is for an input of 112 × 112")
        return None
    if not isinstance(value, list) or len(value) != 5:
        raise BadCard(f"{fields.file}: alignment: arcface, or five [x, y] of eyes, nose and mouth corners")
    pairs = [_Fields(fields.file, {"alignment": point}).listed("alignment", 2) for point in value]
    return tuple((x, y) for x, y in pairs)


@dataclass(frozen=True)
class _Fields:
    """A mapping of a card, whose values are checked as they are taken; every method raises BadCard."""

    file: Path
    content: Mapping[str, Any]

    def check_names(self, known: tuple[str, ...], needed: tuple[str, ...]) -> None:
        """That there are no others, and none of these is missing."""
        for name in self.content:
            if name not in known:
                raise BadCard(f"{self.file}: {str(name)[:40]!r} is no field of a card; there are {', '.join(known)}")
        for name in needed:
            if name not in self.content:
                raise BadCard(f"{self.file}: {name} is missing")

    def part(self, name: str, needed: tuple[str, ...]) -> "_Fields":
        """A mapping in it, of these names."""
        value = self.content[name]
        if not isinstance(value, dict):
            raise BadCard(f"{self.file}: {name}: {', '.join(needed)} are wanted")
        found = _Fields(self.file, value)
        found.check_names(needed, needed)
        return found

    def text(self, name: str, pattern: re.Pattern[str] = re.compile(r"[^\x00-\x1f]{1,300}")) -> str:  # noqa: B008
        """One that matches as a whole."""
        value = self.content[name]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise BadCard(f"{self.file}: {name}: a text that matches {pattern.pattern} is wanted")
        return value

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        """One of these; the first where it is not given."""
        value = self.content.get(name, known[0])
        if value not in known:
            raise BadCard(f"{self.file}: {name}: {' or '.join(known)} is wanted")
        return str(value)

    def flag(self, name: str) -> bool:
        """False where it is not given."""
        value = self.content.get(name, False)
        if not isinstance(value, bool):
            raise BadCard(f"{self.file}: {name}: true or false is wanted")
        return value

    def number(self, name: str, least: float, most: float, default: float | None = None) -> float:
        """From `least` to `most`."""
        value = self.content.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise BadCard(f"{self.file}: {name}: a number from {least:g} to {most:g} is wanted")
        return float(value)

    def numbers(self, name: str, needed: tuple[str, ...], least: float, most: float) -> dict[str, float]:
        """A mapping of numbers."""
        part = self.part(name, needed)
        return {one: part.number(one, least, most) for one in needed}

    def listed(self, name: str, count: int) -> tuple[float, ...]:
        """So many finite numbers."""
        value = self.content[name]
        fits = isinstance(value, list) and len(value) == count
        if not fits or not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
            raise BadCard(f"{self.file}: {name}: {count} numbers are wanted")
        return tuple(float(one) for one in value)
