"""Machine code that is compiled once, kept, and believed only where it is whole."""

import subprocess
import sys

import numpy as np
import pytest

from services.common import native
from services.common.errors import ModelUnavailable
from tests.e2e.system import ROOT

LOOPS = "services.embedder.integer_loops"


@pytest.fixture(autouse=True)
def nothing_loaded():
    """Each test loads as a process does that has just started."""
    native.load.cache_clear()


@pytest.fixture(scope="session")
def compiled() -> bytes:
    return native.compiled(LOOPS)


@pytest.fixture
def compilations(monkeypatch, compiled) -> list[str]:
    """What is compiled."""
    modules = []
    monkeypatch.setattr(native, "_compiled_elsewhere", lambda module: modules.append(module) or compiled)
    return modules


def product(kernel: native.Kernel) -> int:
    digits, codes, result = np.full(8, 3, np.int16), np.full(8, 2, np.int8), np.zeros(1, np.int32)
    kernel(digits.ctypes.data, 1, codes.ctypes.data, 1, 8, result.ctypes.data)
    return int(result[0])


def test_it_is_compiled_once_and_kept(tmp_path, compilations):
    for _ in range(2):
        assert product(native.load(LOOPS, tmp_path / "cache")) == 48
        native.load.cache_clear()
    assert compilations == [LOOPS]


@pytest.mark.parametrize("damage", [lambda code: code[:-1], lambda code: b"", lambda code: b"\0" * len(code)])
def test_damaged_code_is_made_anew(tmp_path, compilations, damage):
    native.load(LOOPS, tmp_path)
    native.load.cache_clear()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert product(native.load(LOOPS, tmp_path)) == 48
    assert compilations == [LOOPS] * 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, compilations):
    (tmp_path / "file").touch()
    assert product(native.load(LOOPS, tmp_path / "file" / "cache")) == 48


def test_other_code_or_another_processor_has_a_file_of_its_own(tmp_path, compilations, monkeypatch):
    native.load(LOOPS, tmp_path)
    native.load.cache_clear()
    monkeypatch.setattr(native.binding, "get_host_cpu_name", lambda: "another")
    native.load(LOOPS, tmp_path)
    assert compilations == [LOOPS] * 2


def test_what_cannot_be_compiled_is_named():
    with pytest.raises(ModelUnavailable, match="services.common.files cannot be compiled: .*has no attribute 'run'"):
        native.load("services.common.files")


@pytest.mark.parametrize("service", ["liveness", "embedder"])
def test_services_run_without_the_compiler(service):
    """Which takes more memory than all else of the process."""
    program = f"import sys, services.{service}.server; sys.exit('numba' in sys.modules)"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
