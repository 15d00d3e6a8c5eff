"""What each service counts of its own."""

from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from services.common.faces import Verdict
from services.embedder.matching import Match, Metric
from services.embedder.metrics import EmbedderMetrics
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.verify import VerificationOutcome, VerifyOptions
from services.liveness.metrics import LivenessMetrics
from services.liveness.minifasnet import Liveness


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.mark.parametrize(
    ("outcome", "options", "label"),
    [
        (VerificationOutcome.VERIFIED, VerifyOptions(), "verified"),
        (VerificationOutcome.FOUND_SAME, VerifyOptions(skip_verify=True), "found_same"),
        (VerificationOutcome.FOUND_OTHER, VerifyOptions(), "found_other"),
        (VerificationOutcome.FOUND_NONE, VerifyOptions(), "unknown"),
        (VerificationOutcome.FOUND_NONE, VerifyOptions(skip_search=True), "not_verified"),
        (VerificationOutcome.SPOOF, VerifyOptions(skip_search=True), "spoof"),
    ],
)
def test_how_a_verification_ended(
    registry: CollectorRegistry, outcome: VerificationOutcome, options: VerifyOptions, label: str
):
    GatewayMetrics(registry).verified(outcome, options)
    samples = [sample for family in registry.collect() for sample in family.samples if sample.name.endswith("_total")]
    assert {sample.labels["outcome"]: sample.value for sample in samples if sample.value} == {label: 1}
    assert len(samples) == 6, "those that did not happen yet are 0, not missing"


def test_distances_are_counted_in_thresholds_and_only_where_there_are_some(registry: CollectorRegistry):
    metrics = EmbedderMetrics(registry)
    near, far = (Match("person", "photo", "Dlib", distance, 0.5) for distance in (0.1, 0.6))
    metrics.compared(far, Metric.COSINE)
    metrics.compared(None, Metric.COSINE)
    metrics.searched([near, far], Metric.EUCLIDEAN)
    metrics.searched([], Metric.EUCLIDEAN)
    verify = {"method": "VerifyFaces", "model": "Dlib", "distance": "cosine"}
    identify = {"method": "IdentifyFaces", "model": "Dlib", "distance": "euclidean"}
    get = registry.get_sample_value
    assert get("reco_best_distance_ratio_count", verify) == get("reco_best_distance_ratio_count", identify) == 1
    assert get("reco_best_distance_ratio_sum", verify) == pytest.approx(1.2)
    assert get("reco_best_distance_ratio_sum", identify) == pytest.approx(0.2)
    assert get("reco_searches_total", {"outcome": "found"}) == get("reco_searches_total", {"outcome": "unknown"}) == 1


def test_an_index_is_named_by_its_model_whatever_its_version(registry: CollectorRegistry):
    metrics = EmbedderMetrics(registry)
    metrics.indexed("Dlib:0123abcd", 7)
    metrics.indexed("Dlib:4567cdef", 9)
    assert registry.get_sample_value("reco_index_templates", {"model": "Dlib"}) == 9


def test_verdicts_are_counted_by_face(registry: CollectorRegistry):
    LivenessMetrics(registry).judged([Liveness(Verdict.REAL, 0.9), Liveness(Verdict.SPOOF, 0.1)] * 2)
    count = partial(registry.get_sample_value, "reco_liveness_faces_total")
    assert [count({"verdict": name}) for name in ("real", "spoof", "undecidable")] == [2, 2, 0]
