"""The workshop: what `make models`, a first `make run` and a service ask of it. No web, no converter."""

import re
from pathlib import Path

import pytest

from deploy.models import __main__ as command
from services.common.models import find
from tests.machine import ROOT
from tests.networks import channel_means


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs it in a folder of its own, with a mirror; gives its exit status."""

    def run(*arguments: str, selected: str = "SFace", name: str = "MiniFASNet") -> int:
        text = (ROOT / ".env.example").read_text()
        text = re.sub("SELECTED_MODELS=.*", f"SELECTED_MODELS={selected}", text)
        (tmp_path / ".env").write_text(re.sub("MODEL_NAME=.*", f"MODEL_NAME={name}", text))
        folders = {"weights": "models", "into": "finished", "mirror": "mirror", "env-file": ".env"}
        return command.main([*(f"--{key}={tmp_path / place}" for key, place in folders.items()), *arguments])

    for place in ("models", "mirror/deep", "var/db", "var/uploads", "var/log", "var/models"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setenv("RECO_CONVERT_PYTHON", "/nowhere")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    return run


@pytest.fixture
def sface(tmp_path) -> Path:
    """A network that was published as ONNX, in the mirror."""
    path = tmp_path / "mirror" / "deep" / "face_recognition_sface_2021dec.onnx"
    path.write_bytes(channel_means())
    return path


def test_makes_the_named_models_once(run, tmp_path, sface, capsys):
    assert run("sface") == 0
    assert capsys.readouterr().out == "SFace: ready\n"
    model = find(tmp_path / "finished", "SFace", tmp_path / "models")
    assert model.path("recogniser").read_bytes() == sface.read_bytes()
    assert model.networks["recogniser"].maker == 0
    (tmp_path / "models" / sface.name).unlink()
    sface.unlink()
    assert run("SFace") == 0  # what is finished needs its weights no longer


def test_other_weights_make_it_anew(run, tmp_path, sface):
    assert run("SFace") == 0
    first = find(tmp_path / "finished", "SFace", tmp_path / "models")
    for path in (tmp_path / "models").glob(f"{sface.name}*"):
        path.unlink()
    (tmp_path / "models" / sface.name).write_bytes(channel_means(("n", "h", "w", 3)))
    assert run("SFace") == 0
    second = find(tmp_path / "finished", "SFace", tmp_path / "models")
    assert first.networks["recogniser"].weights_sha256 != second.networks["recogniser"].weights_sha256


def test_a_start_asks_for_the_converter_and_says_nothing_else(run, tmp_path, capsys):
    (tmp_path / "models" / "deepid_keras_weights.h5").write_bytes(b"a Keras file")
    assert run("--will-install", "DeepID") == command.NEEDS_CONVERTER
    assert capsys.readouterr() == ("", "")
    assert run("DeepID") == command.NEEDS_CONVERTER
    assert "`make models MODELS=DeepID`" in capsys.readouterr().err


def test_a_keras_file_does_where_the_onnx_file_cannot_be_had(run, tmp_path):
    (tmp_path / "mirror" / "arcface_weights.h5").write_bytes(b"a Keras file")
    assert run("ArcFace") == command.NEEDS_CONVERTER


def test_says_what_cannot_be_had(run, capsys):
    assert run("ArcFace") == command.FAILED
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("ArcFace: arcface_weights.onnx could not be had: ")
    assert said.endswith("arcface_weights.h5, its Keras file, does as well.")


def test_weights_that_are_something_else(run, tmp_path, capsys):
    for name in ("2.7_80x80_MiniFASNetV2.pth", "4_0_0_80x80_MiniFASNetV1SE.pth"):
        (tmp_path / "models" / name).write_bytes(b"no network")
    assert run("MiniFASNet") == command.FAILED
    assert "its SHA-256 is" in capsys.readouterr().err


def test_an_unknown_name_makes_nothing(run, tmp_path, sface, capsys):
    assert run("SFace,Dlibb") == command.FAILED
    assert "'Dlibb' is unknown" in capsys.readouterr().err
    assert not (tmp_path / "finished").exists()


def test_a_broken_env_is_named(run, capsys):
    assert run(selected="Nobody") == command.FAILED
    assert "SELECTED_MODELS" in capsys.readouterr().err
