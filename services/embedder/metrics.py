"""What the embedder counts of its own."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.embedder.matching import Match, Metric

#: Of a distance in thresholds of its model: from 1 on nobody matches.
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0)


class EmbedderMetrics:
    """Distances, what searches found, and how much there is to be searched."""

    def __init__(self, registry: CollectorRegistry | None = None):
        """`registry`: where they are to be read; nowhere without."""
        self._distance = Histogram(
            "reco_best_distance_ratio",
            "Distance of a request's best pair, in thresholds of its model: up to 1 it matches.",
            ("method", "model", "distance"),
            buckets=RATIOS,
            registry=registry,
        )
        self._searches = Counter("reco_searches", "Searches ended.", ("outcome",), registry=registry)
        self._templates = Gauge(
            "reco_index_templates",
            "Templates in a model's search index when it was last searched.",
            ("model",),
            registry=registry,
        )
        for outcome in ("found", "unknown"):  # so that a rate can be told from the first one on
            self._searches.labels(outcome)

    def compared(self, best: Match | None, metric: Metric) -> None:
        """A claim was looked into; None where there was nothing to compare with."""
        self._observe("VerifyFaces", best, metric)

    def searched(self, matches: Sequence[Match], metric: Metric) -> None:
        """The gallery was searched; `matches` best first, only those within the threshold."""
        self._searches.labels("found" if matches else "unknown").inc()
        self._observe("IdentifyFaces", matches[0] if matches else None, metric)

    def indexed(self, model: str, templates: int) -> None:
        """The search index of a model (key) was brought up to date."""
        self._templates.labels(model.partition(":")[0]).set(templates)

    def _observe(self, method: str, best: Match | None, metric: Metric) -> None:
        if best:
            self._distance.labels(method, best.model, metric.value).observe(best.relative)
