"""What Milvus is asked for a probe, and what its answer leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.embedder.matching import Metric
from services.embedder.search.index import Rows
from services.embedder.search.milvus import fields

#: Lengths of templates differ by so little at most where a network makes all of them 1 long.
LENGTHS_APART = 1e-3


@dataclass(frozen=True)
class Question:
    """What Milvus is asked: which templates are nearest to this one, float32 (d,); it answers by their directions."""

    vector: np.ndarray
    metric: Metric

    def parts(self, found: Rows) -> Sequence[fields.Part]:
        """What the others are looked for in. Raw distances depend on lengths, of which the found ones are typical."""
        if self.metric is not Metric.EUCLIDEAN:
            return [fields.Part()]
        lengths = fields.lengths(found)
        return fields.Part().thirds(
            float(lengths.min()) * (1 - LENGTHS_APART), float(lengths.max()) * (1 + LENGTHS_APART)
        )

    def at_least(self, cosine: float, part: fields.Part) -> float:
        """What the squared distance of a template in a part is no less than whose cosine is no more than this.

        Cosines are sums of d products in single precision: 8 roundings of 2^-24 a term are more than there can be.
        """
        cosine = min(1.0, cosine + (len(self.vector) + 16) * 2.0**-21)
        if self.metric is not Metric.EUCLIDEAN:
            return 2 - 2 * cosine
        own = float(np.linalg.norm(self.vector.astype(np.float64)))
        shortest, longest = part.lengths
        other = min(max(own * cosine, shortest), longest)  # the length at which it were nearest
        return (own - other) ** 2 + 2 * own * other * (1 - cosine)
