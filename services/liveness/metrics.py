"""What the liveness service counts of its own."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter

from services.common.faces import Verdict
from services.liveness.minifasnet import Liveness


class LivenessMetrics:
    """Verdicts."""

    def __init__(self, registry: CollectorRegistry | None = None):
        """`registry`: where they are to be read; nowhere without."""
        self._faces = Counter("reco_liveness_faces", "Faces judged.", ("verdict",), registry=registry)
        for verdict in Verdict:  # so that a rate can be told from the first one on
            self._faces.labels(verdict.name.lower())

    def judged(self, faces: Iterable[Liveness]) -> None:
        """Faces of a photo were judged."""
        for face in faces:
            self._faces.labels(face.verdict.name.lower()).inc()
