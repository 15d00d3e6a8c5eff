"""What our records say that deepface says, against the deepface that is installed for converting."""

import ast
import re
from pathlib import Path

import pytest

from deploy.models.keras.convert import converter
from deploy.models.sources import networks_of
from services.embedder.recognition import catalogue

#: deepface takes dlib's own file, packed; ours comes with a package, or from that package's source, by its hash. The other
#: two it does not know.
OTHERS = ("Dlib", "MobileFaceNet", "FacePlugin")
FROM_DEEPFACE = tuple(name for name in catalogue.names() if name not in (*OTHERS, "AuraFace"))


@pytest.fixture(scope="module")
def deepface() -> Path:
    folders = list(converter().parents[1].glob("lib/python*/site-packages/deepface"))
    if not folders:
        pytest.skip("deepface is not installed (.venv-convert); `make test` installs it")
    return folders[0]


@pytest.fixture(scope="module")
def source(deepface) -> str:
    return "\n".join(path.read_text() for path in sorted(deepface.rglob("*.py")))


@pytest.mark.parametrize("name", FROM_DEEPFACE)
def test_weights_have_deepfaces_addresses_and_names(name, source):
    onnx, *keras_files = networks_of(name)["recogniser"]
    assert f'"{onnx.url}"' in source
    for keras in keras_files:
        assert re.search(rf'[/"]{re.escape(keras.name)}["./]', source), keras.name


@pytest.mark.parametrize("name", FROM_DEEPFACE)
def test_thresholds_are_deepfaces_where_they_say_so(name, deepface):
    tree = ast.parse((deepface / "config" / "threshold.py").read_text())
    tables = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "thresholds"]
    theirs = ast.literal_eval(tables[0])[name]
    ours = catalogue.find(name).thresholds
    assert "deepface 0.0.103" in ours.source
    assert (ours.cosine, ours.euclidean, ours.euclidean_l2) == tuple(
        theirs[metric] for metric in ("cosine", "euclidean", "euclidean_l2")
    )
