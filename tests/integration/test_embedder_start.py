"""What the embedder has done before it serves."""

import dataclasses
import os
import time

import numpy as np
import pytest
from sqlalchemy import make_url

from services.common.database import open_engine
from services.embedder import server
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import StoredPhoto
from services.embedder.metrics import EmbedderMetrics
from services.embedder.recognition.recogniser import OnnxRecogniser
from services.embedder.settings import Settings
from tests.machine import ROOT
from tests.models import finished


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """The embedder's own defaults, in a folder of its own."""
    for name in [name for name in os.environ if name.startswith("RECO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RECO_EMBEDDER_LISTEN", "127.0.0.1:0")
    for folder in ("var/db", "var/uploads", "var/log"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    return dataclasses.replace(
        Settings.from_environment(),
        env_file=tmp_path / ".env",
        models=tmp_path / "models",
        cache=finished("MobileFaceNet").folder.parent,
    )


def test_selected_models_have_run_before_anything_is_served(settings, monkeypatch):
    faces = []
    warm_up = OnnxRecogniser.warm_up
    monkeypatch.setattr(OnnxRecogniser, "warm_up", lambda self: faces.append(self.name) or warm_up(self))
    server.build(settings).stop(0)
    assert faces == ["MobileFaceNet"]


def test_the_search_index_is_filled_before_anything_is_served(settings, monkeypatch):
    told = []
    monkeypatch.setattr(EmbedderMetrics, "indexed", lambda self, model, templates: told.append((model, templates)))
    server.build(settings).stop(0)
    ((model, templates),) = told
    gallery = Gallery(lambda: open_engine(make_url(f"sqlite:///{settings.env_file.parent}/var/reco.db")))
    gallery.enroll("RECO_ID_1", [StoredPhoto("a.png", False, {model: np.ones(128, np.float32)})], [])
    server.build(settings).stop(0)
    assert templates == 0 and told[1] == (model, 1)


def test_a_selected_model_that_cannot_be_had_stops_nobody(settings, monkeypatch, caplog):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    text = settings.env_file.read_text()
    settings.env_file.write_text(text.replace("SELECTED_MODELS=MobileFaceNet", "SELECTED_MODELS=ArcFace"))
    server.build(settings).stop(0)
    deadline = time.monotonic() + 60
    while "arcface_weights.onnx could not be had" not in caplog.text:  # it is tried meanwhile
        assert time.monotonic() < deadline
        time.sleep(0.05)
