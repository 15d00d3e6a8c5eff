"""Cards of recognisers: what is taken, and that what does not fit is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.models.sources import networks_of
from deploy.models.workshop import Order, make
from services.common.model_cards import MAX_BYTES, SHIPPED, BadCard, cards
from services.common.recognisers import known_names
from services.embedder.matching import Metric
from services.embedder.recognition import catalogue, recogniser
from tests.fakes import fake_crop
from tests.networks import channel_means

CARD: dict[str, Any] = {
    "name": "Ours",
    "url": "https://models.example/ours.onnx",
    "sha256": "0" * 64,
    "licence": "MIT",
    "training": "faces of ours",
    "dimension": 256,
    "input": {"width": 112, "height": 112},
    "order": "bgr",
    "mean": [127.5, 127.5, 127.5],
    "scale": 0.0078125,
    "alignment": "arcface",
    "unit_length": True,
    "mirror": True,
    "thresholds": {"cosine": 0.5, "euclidean": 1.0, "euclidean_l2": 1.0, "source": "measured on ours"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECO_MODEL_CARDS", str(tmp_path))
    return tmp_path


def put(folder: Path, **changes: Any) -> Path:
    file = folder / "ours.yaml"
    content = {name: value for name, value in (CARD | changes).items() if value is not None}
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_card_is_a_model_like_any_other(folder: Path):
    put(folder)
    assert known_names()["ours"] == "Ours"
    spec = catalogue.find("OURS")
    assert (spec.name, spec.dimension, spec.normalisation.order, len(spec.views)) == ("Ours", 256, "bgr", 2)
    assert spec.alignment == catalogue.find("MobileFaceNet").alignment
    assert spec.thresholds.at(Metric.COSINE).distance == 0.5
    ((file,),) = networks_of("Ours").values()
    assert (file.name, file.url, file.sha256) == ("ours.onnx", "https://models.example/ours.onnx", "0" * 64)


def test_a_card_with_points_of_its_own_and_a_file_beside_it(folder: Path):
    points = [[30.0, 40.0], [66.0, 40.0], [48.0, 60.0], [34.0, 78.0], [62.0, 78.0]]
    (folder / "ours.onnx").write_bytes(b"network")
    put(folder, url=None, file="ours.onnx", input={"width": 96, "height": 96}, alignment=points, mirror=None)
    spec = catalogue.find("Ours")
    assert (spec.alignment.width, spec.alignment.points[0]) == (96, (30.0, 40.0))
    ((file,),) = networks_of("Ours").values()
    assert file.url == (folder / "ours.onnx").as_uri()


def test_a_card_that_changes_is_read_again(folder: Path):
    put(folder)
    assert catalogue.find("Ours").dimension == 256
    put(folder, dimension=1024)
    assert catalogue.find("Ours").dimension == 1024


def test_a_models_own_name_is_not_taken_by_a_card(folder: Path):
    put(folder, name="Dlib")
    assert known_names()["dlib"] == "Dlib" and catalogue.find("Dlib").dimension == 128
    assert networks_of("Dlib")["recogniser"][0].name.startswith("dlib")


def test_the_network_of_a_card_is_taken_and_run(folder: Path, tmp_path: Path):
    (folder / "ours.onnx").write_bytes(channel_means((1, "h", "w", 3)))
    put(folder, url=None, file="ours.onnx", sha256=None, dimension=3, unit_length=False, mirror=False)
    model = make(Order("Ours", tmp_path / "weights", tmp_path / "finished"))
    ours = recogniser.load(catalogue.find("Ours"), model, tmp_path / "cache")
    assert ours.embed([fake_crop(1), fake_crop(2)]).shape == (2, 3)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_cards_are_whole(folder: Path, file: Path):
    card = cards()[file.stem.lower()]
    assert card.name == file.stem and card.licence == "Apache-2.0"
    assert catalogue.find(card.name).dimension == card.dimension


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("colour", {"colour": "red"}),
        ("name", {"name": "../evil"}),
        ("name", {"name": 5}),
        ("licence", {"licence": None}),
        ("url", {"url": "file:///etc/passwd"}),
        ("url or file", {"url": None}),
        ("url or file", {"url": "https://models.example/ours.zip"}),
        ("file", {"file": "../ours.onnx"}),
        ("file", {"file": "/etc/ours.onnx"}),
        ("sha256", {"sha256": "0" * 63}),
        ("dimension", {"dimension": 0}),
        ("dimension", {"dimension": 10**9}),
        ("dimension", {"dimension": True}),
        ("input", {"input": [112, 112]}),
        ("height", {"input": {"width": 112}}),
        ("width", {"input": {"width": 10**6, "height": 112}}),
        ("order", {"order": "grb"}),
        ("mean", {"mean": [1, 2]}),
        ("mean", {"mean": [1, 2, float("nan")]}),
        ("scale", {"scale": 0}),
        ("alignment", {"alignment": "box"}),
        ("alignment", {"alignment": [[1, 2]]}),
        ("alignment", {"input": {"width": 96, "height": 96}}),
        ("mirror", {"mirror": "yes"}),
        ("cosine", {"thresholds": {"euclidean": 1, "euclidean_l2": 1, "source": "x"}}),
        ("cosine", {"thresholds": {"cosine": 0, "euclidean": 1, "euclidean_l2": 1, "source": "x"}}),
    ],
)
def test_the_field_that_does_not_fit_is_named(folder: Path, field: str, changes: dict[str, Any]):
    file = put(folder, **changes)
    with pytest.raises(BadCard) as refused:
        cards()
    assert str(file) in str(refused.value) and field in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "a: [",
        "name: !!python/object/apply:os.system [ls]",
        "a: &a [x, x]\nb: &b [*a, *a]\nname: *b\n",
        "\x00",
        "[" * 5000,
        "x" * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_card_is_refused(folder: Path, text: str):
    (folder / "bad.yaml").write_text(text)
    with pytest.raises(BadCard, match=r"bad\.yaml"):
        cards()
