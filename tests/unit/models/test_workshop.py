"""What `make models` and the first `make run` do about weights."""

import re
import sys
from pathlib import Path

import pytest

from deploy.models import __main__ as models

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs it in a folder of its own, with a mirror but no web and no converter; gives its exit status."""

    def run(selected: str, *arguments: str) -> int:
        text = (ROOT / ".env.example").read_text()
        (tmp_path / ".env").write_text(re.sub("SELECTED_MODELS=.*", f"SELECTED_MODELS={selected}", text))
        monkeypatch.setattr(sys, "argv", ["models", *arguments])
        return models.main()

    for name in ("models", "mirror", "var/db", "var/uploads", "var/log"):
        (tmp_path / name).mkdir(parents=True)
    environment = {
        "RECO_ENV_FILE": str(tmp_path / ".env"),
        "RECO_MODELS": str(tmp_path / "models"),
        "RECO_CACHE": str(tmp_path / "cache"),
        "RECO_MIRROR": str(tmp_path / "mirror"),
        "RECO_CONVERT_PYTHON": "/nowhere",
        "https_proxy": "http://127.0.0.1:1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return run


@pytest.mark.parametrize("place", ["models", "mirror"])
def test_a_first_start_asks_for_the_converter(run, tmp_path, place, capsys):
    (tmp_path / place / "deepid_keras_weights.h5").write_bytes(b"a Keras file")
    assert run("Dlib,DeepID", "--missing") == models.NEEDS_CONVERTER
    assert capsys.readouterr() == ("", "")  # installing it says enough


def test_a_start_with_all_weights_there_does_nothing(run, tmp_path, capsys):
    (tmp_path / "models" / "arcface_weights.onnx").write_bytes(b"a network")
    assert run("Dlib,ArcFace", "--missing") == 0
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "cache").exists()


def test_a_first_start_says_what_cannot_be_had(run, capsys):
    assert run("Dlib,ArcFace", "--missing") == models.FAILED
    assert "ArcFace: arcface_weights.onnx could not be had" in capsys.readouterr().err


def test_makes_the_named_models_ready(run, capsys):
    assert run("Dlib", "Dlib") == 0
    assert re.fullmatch(r"Dlib: ready, version [0-9a-f]{16}\n", capsys.readouterr().out)
