"""What an operator sees: metrics of all five, one request id everywhere, traces from Envoy into each stage."""

import http.client
import json
import re
import secrets
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPMessage
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from deploy.local.demo import astronaut, jpeg
from tests.e2e.otlp import Receiver
from tests.e2e.system import RECOGNISER, System
from tests.machine import ROOT

SERVICES = ("gateway", "detector", "liveness", "embedder")
PERSON, NAME = "RECO_ID_77001", "Eileen Monitored"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: PromQL's words, which are not followed by a parenthesis as its functions are.
WORDS = {"by", "on", "group_left", "or", "and", "unless", "bool", "inf"}


def post(system: System, path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> tuple[dict, HTTPMessage]:
    """The JSON answer and its headers."""
    body = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(f"http://localhost:{system.port}{path}", body, dict(headers), method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers


def verify(system: System, upload_id: str, headers: Mapping[str, str]) -> tuple[dict, HTTPMessage]:
    flags = dict.fromkeys(("skip_verify", "skip_db_search", "skip_liveness"), "false")
    return post(system, "/verify", {"upload_id": upload_id, **flags}, headers)


def upload(system: System) -> str:
    return system.client.upload(PERSON, {"a.jpg": jpeg(astronaut())})["upload_results"]["upload_id"]


@pytest.fixture(scope="module")
def upload_id(system: System) -> str:
    """A photo of a person who is enrolled; she was verified, searched for, and asked for in vain."""
    assert system.client.upload_db(upload(system), NAME)["result_code"] == 800
    upload_id = upload(system)
    system.client.verify(upload_id)
    system.client.verify(upload_id, skip_verify=True, skip_liveness=True)
    system.client.verify(f"{PERSON}-0", skip_liveness=True)
    gateway = gateway_pb2_grpc.GatewayServiceStub(grpc.insecure_channel(f"localhost:{system.port}"))
    gateway.VerifyPerson(gateway_pb2.VerifyPersonRequest(upload_id=upload_id, skip_liveness=True), timeout=60)
    return upload_id


@pytest.fixture(scope="module")
def scraped(system: System, upload_id: str) -> dict[str, str]:
    """The metrics of all five, as text."""
    return {name: system.metrics(name) for name in (*SERVICES, "envoy")}


def exported(texts: Iterable[str]) -> dict[str, set[str]]:
    """The names of labels by the name of the metric, as Prometheus keeps them."""
    found = defaultdict(set)
    for line in "\n".join(texts).splitlines():
        if line and not line.startswith("#"):
            name, _, labels = line.partition("{")
            found[name.split()[0]] |= {"job", "instance", *re.findall(r'(\w+)="', labels)}
    return found


def value(text: str, name: str, **labels: str) -> float:
    """The sum over the samples that have these labels."""
    families = text_string_to_metric_families(text)
    all_samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in all_samples if labels.items() <= sample.labels.items())


def test_each_service_tells_of_its_calls_and_its_process(scraped: dict[str, str]):
    methods = {"gateway": "Verify", "detector": "PrepareFaces", "liveness": "CheckLiveness", "embedder": "VerifyFaces"}
    for service, method in methods.items():
        text = scraped[service]
        assert value(text, "reco_service_info", service=service) == 1
        assert value(text, "grpc_server_handled_total", grpc_method=method, grpc_code="OK") >= 1
        assert value(text, "grpc_server_handling_seconds_count", grpc_method=method) >= 1
        assert value(text, "process_resident_memory_bytes") > 2**20
        stage = {"grpc_service": f"reco.{service}.v1.{service.capitalize()}Service", "grpc_code": "OK"}
        assert service == "gateway" or value(scraped["gateway"], "grpc_client_handled_total", **stage) >= 1


def test_each_service_tells_of_what_it_found(scraped: dict[str, str]):
    assert value(scraped["gateway"], "reco_result_codes_total", endpoint="upload_db", code="800") >= 1
    assert value(scraped["gateway"], "reco_result_codes_total", endpoint="verify", code="200") >= 1
    assert value(scraped["gateway"], "reco_verifications_total", outcome="verified") >= 2  # REST and typed
    assert value(scraped["gateway"], "reco_verifications_total", outcome="found_same") >= 1
    assert value(scraped["detector"], "reco_faces_sum") >= 1
    assert value(scraped["detector"], "reco_quality_score_sum") > 0
    assert value(scraped["liveness"], "reco_liveness_faces_total") >= 1
    for method in ("VerifyFaces", "IdentifyFaces"):
        labels = {"method": method, "model": RECOGNISER, "distance": "cosine"}
        assert value(scraped["embedder"], "reco_best_distance_ratio_count", **labels) >= 1
    assert value(scraped["embedder"], "reco_searches_total", outcome="found") >= 1
    assert value(scraped["embedder"], "reco_index_templates", model=RECOGNISER) >= 5  # a photo and four augmented ones
    for service, queue in {"detector": "detector", "liveness": "liveness", "embedder": RECOGNISER}.items():
        assert value(scraped[service], "reco_queue_wait_seconds_count", queue=queue) >= 1
        assert value(scraped[service], "reco_batch_size_count", queue=queue) >= 1
    assert value(scraped["envoy"], "envoy_http_downstream_rq_total", envoy_http_conn_manager_prefix="rest") >= 5


def test_metrics_do_not_tell_who(scraped: dict[str, str], upload_id: str):
    for name, text in scraped.items():
        for secret in (PERSON, upload_id, NAME, NAME.split()[1].lower(), "a.jpg"):
            assert secret not in text, (name, secret)


def test_every_query_of_the_dashboard_is_about_metrics_that_there_are(scraped: dict[str, str]):
    there = exported(scraped.values())
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 30
    for query in queries:
        names, wanted = names_in(query), labels_in(query)
        assert names, query
        assert not names - set(there), f"nobody exports {names - set(there)}: {query}"
        known = set().union(*(there[name] for name in names))
        assert wanted <= known, f"no label {wanted - known}: {query}"


def names_in(query: str) -> set[str]:
    """The metrics that a query asks for."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", query)
    bare = re.sub(r"\b(by|on|group_left)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", bare)) - WORDS


def labels_in(query: str) -> set[str]:
    """The labels that a query selects or sums by."""
    grouped = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", query)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    return {label.strip() for labels in grouped for label in labels.split(",")} | set(selected)


def test_a_query_about_nothing_would_be_noticed():
    query = 'sum by (le, model) (rate(made_up_bucket{method="A"}[5m])) / on (job) group_left (service) other_total'
    assert names_in(query) == {"made_up_bucket", "other_total"}
    assert labels_in(query) == {"le", "model", "method", "job", "service"}


def test_the_dashboard_can_be_imported():
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "service"}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}", "a data source of one installation"


def test_a_request_id_is_in_the_logs_of_all_services_and_in_the_answer(system: System, upload_id: str):
    given = f"test-{secrets.token_hex(8)}"
    answer, headers = verify(system, upload_id, {"x-request-id": given})
    assert answer["recognition_code"] == 200
    assert headers["x-request-id"] == given
    assert wait_for_loggers(system, given, set(SERVICES)) == set(SERVICES)
    assert given in (system.folder / "var" / "log" / "reco.log").read_text()


def test_a_request_without_an_id_gets_one(system: System, upload_id: str):
    _, headers = verify(system, upload_id, {})
    assert UUID.fullmatch(headers["x-request-id"])
    assert "gateway" in wait_for_loggers(system, headers["x-request-id"], {"gateway"})


def wait_for_loggers(system: System, request_id: str, expected: set[str]) -> set[str]:
    """The processes that logged something of a request; the process manager prints lines a moment after that."""
    deadline = time.monotonic() + 10
    while True:
        lines = [line for line in system.log().splitlines() if f" INFO {request_id} reco " in line]
        loggers = {line.partition("|")[0].split()[1] for line in lines}
        if expected <= loggers or time.monotonic() > deadline:
            return loggers
        time.sleep(0.05)


@pytest.mark.parametrize("hostile", ["x" * 129, "two words", "a\tb", "a;b", "{}", "é", "%0aINFO", "a, b", ""])
def test_a_hostile_id_is_replaced(system: System, hostile: str):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(system, "/nowhere", {}, {"x-request-id": hostile})
    assert UUID.fullmatch(refused.value.headers["x-request-id"])


def test_a_uuid_is_kept_as_it_is(system: System):
    given = "12345678-1234-4123-8123-123456789abc"
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(system, "/nowhere", {}, {"x-request-id": given})
    assert refused.value.headers["x-request-id"] == given


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def traced(folder: Path, photos: Path, endpoint: str, **variables: str) -> System:
    """A system that sends traces, and does not wait long to do so."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200", **variables}
    return System(folder, mirror=photos / "weights", environment=environment)


def test_one_trace_leads_from_envoy_into_every_stage(photos: Path, tmp_path: Path, receiver: Receiver):
    with traced(tmp_path, photos, receiver.endpoint) as system:
        assert system.client.upload_db(upload(system), NAME)["result_code"] == 800
        verify(system, upload(system), {"x-request-id": "traced"})
        trace_id = receiver.wait_for_request("traced")
        spans = receiver.wait_for(trace_id, {"reco-envoy", *(f"reco-{service}" for service in SERVICES)})
    by_id = {span.span_id: (service, span) for service, span in spans}
    (envoy,) = [span for service, span in spans if service == "reco-envoy" and not span.parent_span_id]
    asked = [span for service, span in spans if service == "reco-envoy" and span is not envoy]  # whether it may pass
    assert [(span.parent_span_id, "Authorization.Check" in span.name) for span in asked] == [(envoy.span_id, True)]
    for service, span in spans:
        if service in ("reco-detector", "reco-liveness", "reco-embedder"):
            caller, call = by_id[span.parent_span_id]
            assert (caller, call.kind, call.name) == ("reco-gateway", Span.SPAN_KIND_CLIENT, span.name)
            caller, entry = by_id[call.parent_span_id]
            assert (caller, entry.name) == ("reco-gateway", "reco.gateway.v1.LegacyService/Verify")
            assert by_id[entry.parent_span_id] == ("reco-envoy", envoy)
    everything = receiver.text()
    for secret in (PERSON, NAME, "Python-urllib", "127.0.0.1"):
        assert secret not in everything, "traces do not tell who"


def test_who_is_traced(photos: Path, tmp_path: Path, receiver: Receiver):
    """Callers that ask for it; of the others a share, which is none here; never those that ask whether Envoy is up."""
    trace_id, health = secrets.token_hex(16), secrets.token_hex(16)
    with traced(tmp_path, photos, receiver.endpoint, RECO_ENVOY_TRACED_PERCENT="0") as system:
        connection = http.client.HTTPConnection(
            "localhost", system.port, timeout=30
        )  # one, so that spans keep the order
        for path, given, parent in (
            ("/healthz", "asks-if-up", health),
            ("/nowhere", "asks-for-nothing", None),
            ("/nowhere", "asks-to-be-traced", trace_id),
        ):
            headers = {"traceparent": f"00-{parent}-{'cd' * 8}-01"} if parent else {}
            connection.request("GET", path, headers={"x-request-id": given, **headers})
            connection.getresponse().read()
        assert receiver.wait_for_request("asks-to-be-traced").hex() == trace_id
    assert "asks-if-up" not in receiver.text() and "asks-for-nothing" not in receiver.text()


def test_a_receiver_of_traces_that_does_not_answer_fails_no_request(photos: Path, tmp_path: Path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with traced(tmp_path, photos, f"http://127.0.0.1:{silent.getsockname()[1]}") as system:
            assert system.client.upload_db(upload(system), NAME)["result_code"] == 800
            assert system.client.verify(upload(system))["recognition_code"] == 200


def test_an_endpoint_that_does_not_fit_is_said_at_start(tmp_path: Path):
    system = System(tmp_path, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317"})
    with pytest.raises(AssertionError, match="OTEL_EXPORTER_OTLP_ENDPOINT is https://collector:4317; http://HOST:4317"):
        system.start()
