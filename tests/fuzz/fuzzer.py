"""Makes inputs, sends them, and keeps those that fail."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from tests.e2e.services import NAMES
from tests.e2e.system import System
from tests.e2e.watch import Sample, Watch
from tests.fuzz import calls, frames, rest
from tests.fuzz.edits import chosen
from tests.fuzz.inputs import Input, save
from tests.fuzz.messages import Messages
from tests.fuzz.protos import Protos
from tests.fuzz.sending import Answer, Sender, fault
from tests.fuzz.world import World

#: How often, and after how many seconds, is asked again where the answer says to try later: a connection may just have been
#: closed for its age, a service be busy with what came before, and of a frame that is no message gRPC sometimes resets the
#: call rather than say why.
AGAIN, LATER = 5, 1.0


@dataclass(frozen=True)
class Bounds:
    """How inputs are tried.

    Attributes:
        late: seconds after which an answer is late, if it is so again when it is asked for again.
        patience: seconds after which none is waited for.
        batch: inputs between which the system is set up anew.
        smaller: inputs that are tried to make a failure smaller.
    """

    late: float = 3.0
    patience: float = 30.0
    batch: int = 500
    smaller: int = 300


class Failed(Exception):
    """An input that failed, for hypothesis."""


@dataclass
class Failure:
    """The smallest input of a kind of failure."""

    one: Input
    why: str


@dataclass
class Report:
    """What came of a run. `counts` and `slowest` (seconds) are by names of inputs; `failures` by kinds of failure."""

    seed: int
    inputs: int = 0
    failed: int = 0
    seconds: float = 0.0
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    slowest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: dict[str, Failure] = field(default_factory=dict)
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def keep(self, folder: Path) -> list[str]:
        """Writes the failures into files; says what they are."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        said = []
        for number, failure in enumerate(self.failures.values()):
            path = folder / f"{self.seed}-{number}.json"
            save(failure.one, failure.why, path)
            said.append(f"{failure.one.name}, {failure.one.size} bytes, {path}\n  {failure.why}")
        return said


class Fuzzer:
    """Fuzzes a running system."""

    def __init__(self, system: System, bounds: Bounds = Bounds()):  # noqa: B008
        addresses = {name: system.address(name) for name in NAMES} | {"envoy": f"127.0.0.1:{system.port}"}
        self.sender = Sender(addresses, bounds.patience)
        self.world = World(system)
        self._bounds = bounds
        self._watch = Watch({name: system.pids(name)[-1] for name in (*NAMES, "envoy")})
        self._report = Report(0)

    def run(self, inputs: int, seed: int, progress: Callable[[Report], object] = lambda _: None) -> Report:
        """Tries at least that many inputs, those that the seed stands for; ends early where a process has.

        One of every kind comes first, so that chance leaves none out.
        """
        self._report = report = Report(seed)
        started = time.monotonic()
        self.world.reset()
        kinds = self._kinds()
        for kind in kinds:
            self._batch(kind, seed, 1)
        strategy = chosen(kinds).flatmap(lambda kind: kind)
        batch = 0
        while report.inputs < inputs and not self._watch.dead():
            self._batch(strategy, seed + batch, min(self._bounds.batch, inputs - report.inputs))
            batch += 1
            if not self._watch.dead():
                self.world.reset()
                self._watch.look()
            report.seconds = time.monotonic() - started
            progress(report)
        report.samples, report.complaints = self._watch.samples, self._watch.complaints()
        return report

    def _kinds(self) -> list[st.SearchStrategy[Input]]:
        protos, hints = Protos(), calls.hints(self.world.known())
        messages = Messages(hints)
        kinds: list[st.SearchStrategy[Input]] = [calls.calls(method, messages) for method in protos.methods()]
        kinds += [rest.exchanges(endpoint, hints) for endpoint in protos.endpoints()]
        through_envoy = [one for one in protos.methods() if "envoy" in calls.targets(one.containing_service.full_name)]
        kinds += [frames.exchanges(method, messages) for method in through_envoy if not method.server_streaming]
        return kinds

    def _batch(self, strategy: st.SearchStrategy[Input], seed: int, inputs: int) -> None:
        left = inputs
        smaller = self._bounds.smaller

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=inputs,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
        )
        @hypothesis.given(strategy)
        def attempt(one: Input) -> None:
            nonlocal left, smaller
            left -= 1
            kind = self._try(one)
            if kind and smaller:
                smaller -= 1
                raise Failed(kind)

        while left > 0 and not self._watch.dead():
            before = left
            try:
                attempt()
            except (Failed, HypothesisException):
                continue
            if left == before:
                return

    def _try(self, one: Input) -> str | None:
        """Sends an input; the kind of its failure, if it is new or smaller than before."""
        answer, why = self._judged(one)
        report = self._report
        report.inputs += 1
        report.counts[one.name][str(answer.status)] += 1
        report.slowest[one.name] = max(report.slowest[one.name], answer.seconds)
        if not why:
            return None
        report.failed += 1
        kind = f"{one.name} {re.sub(r'[0-9a-f-]{6,}|[0-9]+', '#', why)[:80]}"
        known = report.failures.get(kind)
        if known and known.one.size <= one.size:
            return None
        report.failures[kind] = Failure(one, why)
        return kind

    def _judged(self, one: Input) -> tuple[Answer, str | None]:
        answer = self.sender.send(one)
        for _ in range(AGAIN):
            if answer.status in ("UNAVAILABLE", 503) and not self._watch.dead():
                time.sleep(LATER)
                answer = self.sender.send(one)
        if dead := self._watch.dead():
            return answer, f"{', '.join(dead)} ended"
        why = fault(one, answer)
        times = [answer.seconds]
        while not why and times[-1] > self._bounds.late and len(times) < 3:  # other programs may have been in the way
            times.append(self.sender.send(one).seconds)
        if not why and min(times) > self._bounds.late:
            why = f"late: {min(times):.1f} s"
        return answer, why
