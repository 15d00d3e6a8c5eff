"""Networks whose weights processes share by mapping one file."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.common.models import sha256_of
from services.common.onnx import ORT_ERRORS, Session, open_session, open_shared_session

PICTURES = np.random.default_rng(3).uniform(0, 255, (2, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def network(tmp_path) -> Path:
    """A convolution, whose weights are laid out in blocks, and a product of matrices, whose weights are packed."""
    random = np.random.default_rng(4)
    filters = numpy_helper.from_array(random.normal(size=(32, 3, 16, 16)).astype(np.float32), "filters")
    matrix = numpy_helper.from_array(random.normal(size=(32, 512)).astype(np.float32), "matrix")
    nodes = [
        helper.make_node("Conv", ["in", "filters"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["out"]),
    ]
    given = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", 3, 16, 16])
    gives = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 512])
    graph = helper.make_graph(nodes, "two", [given], [gives], [filters, matrix])
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def open_shared(network: Path, cache: Path) -> Session:
    return open_shared_session(network, sha256_of(network), cache)


def mapped(folder: Path) -> dict[str, int]:
    """Bytes of the folder's files that this process has mapped, and of those what it changed for itself."""
    totals, inside = {"Rss": 0, "Private_Dirty": 0, "Anonymous": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = f" {folder}/" in line
        elif inside and line.split(":")[0] in totals:
            totals[line.split(":")[0]] += int(line.split()[1]) * 1024
    return totals


def test_weights_are_mapped_and_not_copied(network, tmp_path):
    session = open_shared(network, tmp_path / "cache")
    session.run(None, {"in": PICTURES})
    weights = 4 * (32 * 3 * 16 * 16 + 32 * 512)
    assert mapped(tmp_path / "cache")["Rss"] >= 0.9 * weights
    assert mapped(tmp_path / "cache")["Anonymous"] == 0


def test_results_are_the_same_to_the_bit(network, tmp_path):
    plain = open_session(network).run(None, {"in": PICTURES})[0]
    for _ in range(2):  # made, and found
        shared = open_shared(network, tmp_path / "cache")
        np.testing.assert_array_equal(shared.run(None, {"in": PICTURES})[0], plain)


def test_another_network_has_its_own(network, tmp_path):
    open_shared(network, tmp_path / "cache")
    model = onnx.load(network)
    matrix = numpy_helper.to_array(model.graph.initializer[1])
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(matrix * 2, "matrix"))
    before = open_session(network).run(None, {"in": PICTURES})[0]
    onnx.save(model, network)
    after = open_shared(network, tmp_path / "cache").run(None, {"in": PICTURES})[0]
    np.testing.assert_allclose(after, before * 2, rtol=1e-5)
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 2


def test_runs_without_a_cache(network, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    session = open_shared(network, tmp_path / "cache")
    assert session.run(None, {"in": PICTURES})[0].shape == (2, 512)
    assert "not shared" in caplog.text


@pytest.mark.parametrize("part", ["*.onnx", "*.bin"])
def test_a_broken_file_in_the_cache_is_not_used(network, tmp_path, caplog, part):
    plain = open_shared(network, tmp_path / "cache").run(None, {"in": PICTURES})[0]
    (prepared,) = (tmp_path / "cache").glob(part)
    prepared.write_bytes(prepared.read_bytes()[: prepared.stat().st_size // 2])
    session = open_shared(network, tmp_path / "cache")
    np.testing.assert_array_equal(session.run(None, {"in": PICTURES})[0], plain)
    assert "not shared" in caplog.text


def test_what_is_no_network_is_not_kept(tmp_path):
    (tmp_path / "page.onnx").write_bytes(b"<html>")
    with pytest.raises(ORT_ERRORS):
        open_shared(tmp_path / "page.onnx", tmp_path / "cache")
    assert list((tmp_path / "cache").glob("[!.]*")) == []
