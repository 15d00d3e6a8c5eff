"""How much was asked for lately, minute by minute: what this process has counted, kept for an hour."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

#: Services whose calls are counted: what clients ask of people and pictures, not what a console asks about the system.
COUNTED = {f"reco.gateway.v1.{name}Service" for name in ("Gateway", "Legacy", "People", "Faces", "Form")}

#: Statuses of calls that were refused because there was too much else, and of those that failed.
REFUSED = {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
FAILED = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "DATA_LOSS"}

#: Minutes that are kept, and seconds of one.
KEPT, MINUTE = 60, 60.0


@dataclass(frozen=True)
class Minute:
    """Calls that ended within a minute.

    Attributes:
        begin: seconds since 1970.
        refused, failed: of `calls`; what Envoy refuses by itself is not among them.
        median, p95: seconds of a call, read off a histogram; 0 where there was none.
    """

    begin: float
    calls: int = 0
    refused: int = 0
    failed: int = 0
    median: float = 0.0
    p95: float = 0.0


@dataclass(frozen=True)
class _Counts:
    """Since the process began: calls by status, and by the upper bound of the time that they took."""

    by_code: Counter[str]
    by_bound: Mapping[float, float]


class Activity:
    """Remembers the last hour. Safe to use from several threads."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time):
        """`registry`: of the process's CallMetrics."""
        self._registry = registry
        self._clock = clock
        self._lock = threading.Lock()
        self._minutes: deque[Minute] = deque(maxlen=KEPT)
        self._begin, self._before = clock(), self._count()

    def minutes(self) -> list[Minute]:
        """Whole minutes, the earliest first, and the present one."""
        self.note()
        with self._lock:
            return [*self._minutes, _between(self._begin, self._before, self._count())]

    def note(self) -> None:
        """Ends a minute if it is over; to be called more often than that."""
        with self._lock:
            while self._clock() >= self._begin + MINUTE:
                now = self._count()
                self._minutes.append(_between(self._begin, self._before, now))
                self._begin, self._before = self._begin + MINUTE, now

    def _count(self) -> _Counts:
        by_code, by_bound = Counter[str](), dict[float, float]()
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.labels.get("grpc_service") not in COUNTED:
                    continue
                if sample.name == "grpc_server_handled_total":
                    by_code[sample.labels["grpc_code"]] += int(sample.value)
                elif sample.name == "grpc_server_handling_seconds_bucket":
                    bound = float(sample.labels["le"])
                    by_bound[bound] = by_bound.get(bound, 0.0) + sample.value
        return _Counts(by_code, by_bound)


def _between(begin: float, before: _Counts, after: _Counts) -> Minute:
    codes = after.by_code - before.by_code
    calls = {bound: count - before.by_bound.get(bound, 0) for bound, count in sorted(after.by_bound.items())}
    return Minute(
        begin=begin,
        calls=codes.total(),
        refused=sum(codes[code] for code in REFUSED),
        failed=sum(codes[code] for code in FAILED),
        median=_quantile(calls, 0.5),
        p95=_quantile(calls, 0.95),
    )


def _quantile(calls: Mapping[float, float], share: float) -> float:
    """Of how many calls took at most so many seconds; within two bounds calls are taken to be spread evenly."""
    total = max(calls.values(), default=0.0)
    below, lower = 0.0, 0.0
    for bound, count in calls.items():
        if total and count >= share * total:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (share * total - below) / (count - below)
        below, lower = count, bound
    return 0.0
