"""The imports keep to docs/architecture.md: who may know whom, and who may speak gRPC."""

import ast

import pytest

from tests.machine import ROOT

NAMES = ("detector", "liveness", "embedder", "gateway")

#: Modules that may speak gRPC: they translate, or put together.
ADAPTERS = (
    *(f"services/{name}/server.py" for name in NAMES),
    *(f"services/{name}/servicer.py" for name in NAMES if name != "gateway"),
    "services/common/convert.py",
    "services/common/interceptor.py",
    "services/common/mutual_tls.py",
    "services/common/server.py",
    "services/embedder/search/milvus/index.py",
    "services/gateway/api/access.py",
    "services/gateway/api/authorisation.py",
    "services/gateway/api/console.py",
    "services/gateway/api/events.py",
    "services/gateway/api/faces.py",
    "services/gateway/api/form_messages.py",
    "services/gateway/api/grpc.py",
    "services/gateway/api/legacy_requests.py",
    "services/gateway/api/info.py",
    "services/gateway/api/operations.py",
    "services/gateway/api/people.py",
    "services/gateway/api/problems.py",
    "services/gateway/api/readiness.py",
    "services/gateway/api/rest.py",
    "services/gateway/api/transfer.py",
    "services/gateway/stages/channels.py",
    "services/gateway/stages/crops.py",
    "services/gateway/stages/detector.py",
    "services/gateway/stages/embedder.py",
    "services/gateway/stages/health.py",
    "services/gateway/stages/liveness.py",
)

#: What modules of a folder may not import.
FORBIDDEN = {
    "services/": ("deploy", "tests"),
    "services/common/": ("services.images", *(f"services.{name}" for name in NAMES)),
    "services/images/": tuple(f"services.{name}" for name in NAMES),
    **{f"services/{name}/": tuple(f"services.{other}" for other in NAMES if other != name) for name in NAMES},
    "services/gateway/api/": ("services.gateway.server",),
    "services/gateway/pipeline/": ("services.gateway.server", "services.gateway.api"),
    "services/gateway/storage/": ("services.gateway.server", "services.gateway.api", "services.gateway.pipeline"),
    "services/gateway/stages/": ("services.gateway.server", "services.gateway.api", "services.gateway.pipeline"),
    "services/gateway/access/": ("services.gateway.server", "services.gateway.api", "services.gateway.pipeline"),
}

MODULES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "services").rglob("*.py"))


def imports(module: str) -> set[str]:
    """The modules that a module imports; of `from a import b` both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("module", MODULES)
def test_dependencies_point_one_way(module: str):
    forbidden = tuple(name for folder, names in FORBIDDEN.items() if module.startswith(folder) for name in names)
    assert [name for name in imports(module) if within(name, forbidden)] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ADAPTERS])
def test_domain_code_knows_no_grpc(module: str):
    assert [name for name in imports(module) if within(name, ("grpc", "grpc_status", "reco", "google"))] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("services/gateway/pipeline/")])
def test_the_pipeline_knows_stages_and_storage_by_their_types_alone(module: str):
    known = [name for name in imports(module) if within(name, ("services.gateway.stages", "services.gateway.storage"))]
    stages = ("services.gateway.stages.types",)
    storage = tuple(f"services.gateway.storage.{name}" for name in ("types", "profiles", "work"))
    assert [name for name in known if not within(name, stages + storage)] == []


def test_all_adapters_are_there():
    assert set(ADAPTERS) <= set(MODULES)
