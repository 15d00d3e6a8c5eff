"""What can be known of deploy/k8s without a cluster: the manifests fit their schemas, each other and the images."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.docker.certificates import NAMES
from deploy.docker.envoy_config import place
from deploy.docker.probe import TIMEOUT
from services.common.server import GRACE
from tests.integration.images import ROOT, image

SERVICES = ("detector", "liveness", "embedder", "gateway")
OVERLAYS = ("single-node", "production", "objects")
#: The version whose schemas the manifests must fit.
VERSION = "1.34"


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[dict]:
    """An overlay as kustomize makes it."""
    builders = {"kustomize": ["kustomize", "build"], "kubectl": ["kubectl", "kustomize"]}
    builder = next((command for tool, command in builders.items() if shutil.which(tool)), None)
    if builder is None:
        pytest.skip("neither kustomize nor kubectl is installed: the Kubernetes manifests are not checked")
    built = subprocess.run(
        [*builder, ROOT / "deploy" / "k8s" / "overlays" / request.param],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return list(yaml.safe_load_all(built.stdout))


def of_kind(manifests: list[dict], *kinds: str) -> dict[str, dict]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def pods(manifests: list[dict]) -> dict[str, dict]:
    """The pod templates by name."""
    return {name: one["spec"]["template"] for name, one in of_kind(manifests, "Deployment", "StatefulSet").items()}


def test_manifests_fit_the_schemas(manifests: list[dict]):
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in manifests:
        validator.validate(manifest, VERSION, strict=True)


def test_pods_are_locked(manifests: list[dict]):
    for name, pod in pods(manifests).items():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] >= 999, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"] and not locked["allowPrivilegeEscalation"], name
            assert locked["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"], name
        mounted = {mount["name"] for one in pod["spec"]["containers"] for mount in one.get("volumeMounts", [])}
        claimed = of_kind(manifests, "StatefulSet").get(name, {}).get("spec", {}).get("volumeClaimTemplates", [])
        volumes = {one["name"] for one in pod["spec"].get("volumes", [])} | {one["metadata"]["name"] for one in claimed}
        assert mounted == volumes, name


def test_services_are_probed_and_stop_gracefully(manifests: list[dict]):
    for name in SERVICES:
        spec = pods(manifests)[name]["spec"]
        (container,) = spec["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        environment = image(name).environment
        assert environment[f"RECO_{name.upper()}_LISTEN"] == f"0.0.0.0:{ports['grpc']}"
        assert environment[f"RECO_{name.upper()}_METRICS"] == f"0.0.0.0:{ports['metrics']}"
        asking = image(name).healthcheck  # Kubernetes' own questions show no certificate
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            command = container[probe]["exec"]["command"]
            assert command[: len(asking)] == asking
            patience = float(command[-1]) if "--timeout" in command else TIMEOUT
            assert container[probe]["timeoutSeconds"] > patience + 1, "it is to say itself why"
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert spec["terminationGracePeriodSeconds"] > pause + GRACE


def test_every_service_has_the_certificate_of_its_own_alone(manifests: list[dict]):
    made = list(yaml.safe_load_all((ROOT / "deploy" / "k8s" / "cert-manager" / "certificates.yaml").read_text()))
    names = {one["spec"]["secretName"]: one["spec"]["dnsNames"] for one in made}
    assert names == {f"tls-{name}": [name] for name in NAMES}
    for name in (*SERVICES, "envoy"):
        spec = pods(manifests)[name]["spec"]
        volume = next(one for one in spec["volumes"] if one["name"] == "tls")
        assert volume["secret"]["secretName"] == f"tls-{name}" and not volume["secret"].get("optional")
        (container,) = spec["containers"]
        assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in container["volumeMounts"]


def test_services_are_balanced_by_their_clients(manifests: list[dict]):
    found = of_kind(manifests, "Service")
    environment = image("gateway").environment
    for name in SERVICES:
        spec = found[name]["spec"]
        assert spec["clusterIP"] == "None", "one address for all copies pins a gRPC client to one of them"
        assert matches(spec["selector"], pods(manifests)[name])
        if name != "gateway":
            assert environment[f"RECO_{name.upper()}"] == f"dns:///{name}:{spec['ports'][0]['port']}"


def matches(labels: dict[str, str], pod: dict) -> bool:
    return labels.items() <= pod["metadata"]["labels"].items()


def test_who_may_call_whom(manifests: list[dict]):
    allowed = {
        (source, target)
        for target in pods(manifests)
        for source in ("anybody", *pods(manifests))
        if may_call(manifests, source, target)
    }
    stages = {("gateway", name) for name in ("detector", "liveness", "embedder")}
    outside = {(source, "envoy") for source in ("anybody", *pods(manifests))}
    records = {("gateway", "mariadb"), ("embedder", "mariadb")} if "mariadb" in pods(manifests) else set()
    assert allowed == outside | {("envoy", "gateway")} | stages | records


def test_prometheus_finds_the_metrics_and_may_read_nothing_else(manifests: list[dict]):
    policies = of_kind(manifests, "NetworkPolicy")
    (rule,) = policies.pop("prometheus-to-metrics")["spec"]["ingress"]
    for policy in policies.values():
        for other in policy["spec"].get("ingress", []):
            assert rule["ports"][0] not in other["ports"], "metrics are open to others"
    (read,) = rule["ports"]
    assert [list(peer) for peer in rule["from"]] == [["namespaceSelector"]]
    scraped = {name: pod for name, pod in pods(manifests).items() if name != "mariadb"}
    for name, pod in scraped.items():
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true" and annotations["prometheus.io/path"] == "/metrics"
        assert annotations["prometheus.io/port"] == str(read["port"])
        assert read["port"] in {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert selects(
            of_kind(manifests, "NetworkPolicy")["prometheus-to-metrics"]["spec"]["podSelector"],
            pod["metadata"]["labels"],
        ), name
    assert place(Path("/envoy"))["STATS_PORT"] == read["port"]


def test_traces_are_sent_where_one_configmap_says(manifests: list[dict]):
    for name in (*SERVICES, "envoy"):
        spec = pods(manifests)[name]["spec"]
        (container,) = spec["containers"] if name in SERVICES else spec["initContainers"]
        assert {"configMapRef": {"name": "tracing", "optional": True}} in container["envFrom"], name


def may_call(manifests: list[dict], source: str, target: str) -> bool:
    """Whether a rule lets `source` through to `target`; "anybody" is whoever is not one of these pods."""
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(manifests).items()}
    rules = [
        rule
        for policy in of_kind(manifests, "NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], labels[target])
        for rule in policy["spec"].get("ingress", [])
    ]
    peers = [peer["podSelector"] for rule in rules for peer in rule.get("from", []) if "podSelector" in peer]
    if any("from" not in rule for rule in rules):
        return True
    return source in labels and any(selects(peer, labels[source]) for peer in peers)


def selects(selector: dict, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))


def test_every_pod_is_behind_the_refusal(manifests: list[dict]):
    assert of_kind(manifests, "NetworkPolicy")["refuse"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_with_an_object_store_no_volume_is_shared(manifests: list[dict]):
    """A gateway has a disk of its own, for its audit log, and is told where the store is."""
    (container,) = pods(manifests)["gateway"]["spec"]["containers"]
    told = {"secretRef": {"name": "objects"}} in container["envFrom"]
    gateways = of_kind(manifests, "StatefulSet").get("gateway")
    assert told == (gateways is not None)
    if gateways:
        assert not of_kind(manifests, "PersistentVolumeClaim")
        (own,) = gateways["spec"]["volumeClaimTemplates"]
        assert own["spec"]["accessModes"] == ["ReadWriteOnce"]
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        assert image("gateway").environment["RECO_AUDIT_LOG"].startswith(f"{mounts[own['metadata']['name']]}/")
        assert gateways["spec"]["serviceName"] in of_kind(manifests, "Service")


def test_production_scales(manifests: list[dict]):
    scalers = of_kind(manifests, "HorizontalPodAutoscaler")
    claims = of_kind(manifests, "PersistentVolumeClaim")
    if not scalers:  # a single node
        assert all(claim["spec"]["accessModes"] == ["ReadWriteOnce"] for claim in claims.values())
        return
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert set(scalers) == set(budgets) == set(pods(manifests))
    for name, pod in pods(manifests).items():
        target = scalers[name]["spec"]["scaleTargetRef"]
        copies = of_kind(manifests, target["kind"])[name]
        assert matches(budgets[name]["spec"]["selector"]["matchLabels"], pod)
        assert target["name"] == name and "replicas" not in copies["spec"], "the autoscaler's to say"
    assert all(claim["spec"]["accessModes"] == ["ReadWriteMany"] for claim in claims.values())
