"""Thresholds fitted on some people of a site, scored on the others."""

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from services.common.database import Database
from services.common.env import EnvFile
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import StoredPhoto, model_key
from services.embedder.matching import Metric
from services.embedder.recognition import calibration
from tests.e2e.system import System
from tests.machine import ROOT
from tests.quality.calibrate import Faces, fit
from tests.quality.chain import Chain, embed_photos, versions
from tests.quality.lfw import all_pairs, pairs_of

NAME = "MobileFaceNet"


@dataclass(frozen=True)
class Site:
    """Photos of the East Asian set, their templates, float32 (n, d), whom they show, and what they were made by."""

    photos: tuple[Path, ...]
    templates: np.ndarray
    names: np.ndarray
    chain: Chain

    def of(self, mask: np.ndarray) -> Faces:
        return Faces(self.templates[mask], pairs_of(tuple(itertools.compress(self.photos, mask))))


@pytest.fixture(scope="module")
def site(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = photos / "faces" / "nuaa_dev"
    if not folder.is_dir():
        pytest.skip(f"the East Asian set is not at {folder}")
    paths = all_pairs(folder).photos
    chain = Chain((NAME,), True, tmp_path_factory.mktemp("work"), str(photos / "weights"))
    templates = embed_photos(chain, paths, os.cpu_count())[NAME]
    return Site(paths, templates, np.array([path.parent.name for path in paths]), chain)


def test_calibrated_on_five_east_asian_people_it_tells_the_others_apart(site: Site):
    """Over all ways to choose the five: measured 0.004 % accepted of two people, 3.9 % refused of one."""
    accepted, refused = [], []
    for five in itertools.combinations(sorted(set(site.names)), 5):
        chosen = np.isin(site.names, five)
        threshold = fit(NAME, site.of(chosen), "").at(Metric.COSINE).distance
        others = site.of(~chosen).scores(Metric.COSINE)
        accepted.append((others.impostor <= threshold).mean())
        refused.append((others.genuine > threshold).mean())
    assert np.mean(accepted) <= 0.002
    assert np.mean(refused) <= 0.05


def test_the_enrolled_people_need_no_photos(site: Site, tmp_path: Path):
    """By their templates of the photos that were taken; those that were made of them have no say."""
    system = System(tmp_path)  # its settings alone: nothing is started
    env_file = EnvFile(tmp_path / ".env")
    engine = Database(env_file.root).engine(env_file.sql())
    gallery = Gallery(lambda: engine)
    key = model_key(NAME, versions(site.chain)[NAME])
    for name in sorted(set(site.names)):
        mine = [
            StoredPhoto(path.name, False, {key: vector})
            for path, vector in zip(site.photos, site.templates, strict=True)
            if path.parent.name == name and np.isfinite(vector).all()
        ]
        made = StoredPhoto("made.png", True, {key: np.ones(site.templates.shape[1], np.float32)})
        gallery.enroll(name, [*mine, made], frozenset())
    engine.dispose()
    command = [sys.executable, "-m", "tests.quality.calibrate", "--models", NAME]
    command += ["--out", str(tmp_path / "pictures"), "--work", str(site.chain.folder)]
    variables = {
        "RECO_ENV_FILE": str(system.folder / ".env"),
        "RECO_CALIBRATION": str(tmp_path / "fitted.json"),
        "RECO_MIRROR": str(site.chain.weights_mirror),
    }
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f"{NAME}: 8 people" in done.stdout
    found = calibration.read(tmp_path / "fitted.json")[NAME]
    assert found.cosine == pytest.approx(fit(NAME, site.of(site.names != ""), "").cosine)
    assert "the enrolled people" in found.source
