"""What the gateway counts of its own."""

from prometheus_client import CollectorRegistry, Counter

from services.gateway.pipeline.verify import VerificationOutcome, VerifyOptions

OUTCOMES = {
    VerificationOutcome.VERIFIED: "verified",
    VerificationOutcome.FOUND_SAME: "found_same",
    VerificationOutcome.FOUND_OTHER: "found_other",
    VerificationOutcome.FOUND_NONE: "unknown",
    VerificationOutcome.SPOOF: "spoof",
}

#: Where nobody was searched for, a face that does not match is not known to be unknown.
NOT_VERIFIED = "not_verified"


class GatewayMetrics:
    """How requests end: codes of the REST contract, and verifications by either API."""

    def __init__(self, registry: CollectorRegistry | None = None):
        """`registry`: where they are to be read; nowhere without."""
        self._codes = Counter(
            "reco_result_codes", "Answers of the REST contract.", ("endpoint", "code"), registry=registry
        )
        self._verifications = Counter("reco_verifications", "Verifications ended.", ("outcome",), registry=registry)
        for outcome in (*OUTCOMES.values(), NOT_VERIFIED):  # so that a rate can be told from the first one on
            self._verifications.labels(outcome)

    def answered(self, endpoint: str, code: int) -> None:
        """A request of the contract was answered with a code."""
        self._codes.labels(endpoint, str(code)).inc()

    def verified(self, outcome: VerificationOutcome, options: VerifyOptions) -> None:
        """A verification came to an end."""
        unsearched = outcome is VerificationOutcome.FOUND_NONE and options.skip_search
        self._verifications.labels(NOT_VERIFIED if unsearched else OUTCOMES[outcome]).inc()
