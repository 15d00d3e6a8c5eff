"""The imports keep to the architecture: services do not know each other, domain code knows no gRPC, common nobody."""

import ast
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services"
NAMES = ("detector", "liveness", "embedder", "gateway")

#: Modules that may speak gRPC: they translate or put together.
ADAPTERS = {
    "servicer.py",
    "server.py",
    "rest.py",
    "grpc.py",
    "channels.py",
    "clients.py",
    "convert.py",
    "interceptor.py",
}

MODULES = sorted(path for path in SERVICES.rglob("*.py"))


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SERVICES)))
def test_imports(path: Path):
    part = path.relative_to(SERVICES).parts[0]
    others = [name for name in NAMES if name != part]
    found = imports(path)
    assert not [name for name in found for other in others if name.startswith(f"services.{other}")]
    if path.name not in ADAPTERS:
        assert not [name for name in found if name.split(".")[0] in ("grpc", "reco", "google")]
