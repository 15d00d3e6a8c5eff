"""Functions written in Python for numba, as machine code: compiled once for this kind of processor, kept in the cache.

Compiling takes seconds, and memory that a process keeps. So a child process does it, and what services load is machine
code alone: in milliseconds, and without numba. A module that is compiled so has a function `run` of integers only
(sizes, and addresses of arrays), decorated with `kernel` of vectors.py; besides numba it uses only what is in
services.common.
"""

import ctypes
import hashlib
import importlib
import inspect
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from llvmlite import binding

from services.common.errors import ModelUnavailable
from services.common.files import write_whole

#: Seconds that compiling may take; it takes five on a free processor.
TIMEOUT = 300

COMMON = Path(__file__).parent
_DIGEST = hashlib.sha256().digest_size


class Kernel:
    """Machine code that is loaded. Safe to call from several threads, which then run at once: it holds no lock of Python.

    What it is given is believed: sizes and addresses must fit.
    """

    def __init__(self, code: bytes) -> None:
        """`code`: what `compiled` made on such a processor."""
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(jit=True)
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        name, _, file = code.partition(b"\0")
        self._engine.add_object_file(binding.ObjectFileRef.from_data(file))
        self._engine.finalize_object()
        self._function = ctypes.CFUNCTYPE(ctypes.c_int)(self._engine.get_function_address(name.decode()))

    def __call__(self, *arguments: int) -> None:
        """Runs it."""
        result, error = ctypes.c_void_p(), ctypes.c_void_p()  # numba's first two arguments; nothing is read from them
        self._function(ctypes.byref(result), ctypes.byref(error), *map(ctypes.c_ssize_t, arguments))


@lru_cache
def load(module: str, cache: Path | None = None) -> Kernel:
    """The function `run` of a module (a dotted name), compiled now if the cache does not hold it.

    Args:
        cache: made if missing; may be shared by machines. None, or one that cannot be written: nothing is kept.

    Raises:
        ModelUnavailable: it cannot be compiled here.
    """
    path = cache / f"{module.rpartition('.')[2]}-{_version(module)}.kernel" if cache else None
    code = _read(path) if path else None
    if code is None:
        code = _compiled_elsewhere(module)
        if path:
            with suppress(OSError):
                write_whole(path, hashlib.sha256(code).digest() + code)
    return Kernel(code)


def _version(module: str) -> str:
    """16 digits that tell the code and the kind of processor that it is compiled for."""
    versions = [metadata.version(package) for package in ("numba", "llvmlite")]
    processor = [platform.machine(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
    digest = hashlib.sha256("\n".join(versions + processor).encode())
    for path in [COMMON.parents[1] / f"{module.replace('.', '/')}.py", *sorted(COMMON.rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> bytes | None:
    """What was kept, if it is all there: LLVM would end the process over half of it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _compiled_elsewhere(module: str) -> bytes:
    command = [sys.executable, "-m", __name__, module]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=TIMEOUT).stdout
    except subprocess.CalledProcessError as error:
        why = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ModelUnavailable(f"{module} cannot be compiled: {why}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelUnavailable(f"{module} cannot be compiled: {error}") from error


def compiled(module: str) -> bytes:
    """The name of the module's function, and an object file that has it and all that it calls.

    It is what numba itself runs: code that LLVM makes anew of what numba shows of its own can be a third slower, as that
    has gone through the compiler before.
    """
    from numba import types

    run = importlib.import_module(module).run
    run.compile((types.intp,) * len(inspect.signature(run.py_func).parameters))
    (result,) = run.overloads.values()
    _, _, (code, _) = result.library.serialize_using_object_code()
    return b"\0".join([result.fndesc.llvm_func_name.encode(), code])


if __name__ == "__main__":
    sys.stdout.buffer.write(compiled(sys.argv[1]))
