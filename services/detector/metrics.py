"""What the detector counts of its own."""

from prometheus_client import CollectorRegistry, Histogram

FACES = (0, 1, 2, 3, 5, 10, 20, 50)

#: Of the score of a photo, 0 to 10.
SCORES = (1, 2, 3, 4, 5, 6, 7, 8, 9)


class DetectorMetrics:
    """Faces and scores of photos."""

    def __init__(self, registry: CollectorRegistry | None = None):
        """`registry`: where they are to be read; nowhere without."""
        self._faces = Histogram("reco_faces", "Faces found in a photo.", buckets=FACES, registry=registry)
        self._score = Histogram("reco_quality_score", "Scores of photos, 0 to 10.", buckets=SCORES, registry=registry)

    def found(self, faces: int) -> None:
        """A photo was searched."""
        self._faces.observe(faces)

    def scored(self, score: float) -> None:
        """A photo was judged."""
        self._score.observe(score)
