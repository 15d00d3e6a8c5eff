"""Keeps processes running: starts again what ends, with back-off, and stops all together."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

CHILD = Path(__file__).with_name("child.py")

#: Seconds between looks at the processes.
INTERVAL = 0.1


@dataclass(frozen=True)
class Part:
    """A process to keep running.

    Attributes:
        name: as it is shown.
        command: its first word is a path.
        first: it is stopped before the others, which it needs to end its work.
    """

    name: str
    command: tuple[str, ...]
    first: bool = False


@dataclass(frozen=True)
class Policy:
    """How patient a supervisor is; all in seconds but `attempts`.

    Attributes:
        delay, longest_delay: before a part is started again: doubled each time, up to the longest.
        steady: a part that ran so long is trusted again.
        grace: for parts that are asked to stop.
        attempts: ends in a row of one part that end the run, until all has been well once.
    """

    delay: float = 0.5
    longest_delay: float = 30.0
    steady: float = 60.0
    grace: float = 25.0
    attempts: int = 5


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes] | None = None
    ends: int = 0
    started: float = 0.0
    due: float = field(default_factory=time.monotonic)


class Supervisor:
    """Runs parts until it is told to stop by SIGINT, SIGTERM or SIGHUP; to be run in the main thread."""

    def __init__(
        self,
        parts: Sequence[Part],
        environment: Mapping[str, str],
        folder: Path,
        was_well: Callable[[], bool],
        policy: Policy | None = None,
    ):
        """
        Args:
            environment, folder: of all parts.
            was_well: whether all parts together have served once: from then on a part may fail as often as it likes.
        """
        self._running = [_Running(part) for part in parts]
        self._environment = dict(environment)
        self._folder = folder
        self._was_well = was_well
        self._policy = policy or Policy()
        self._width = max(len(part.name) for part in parts)
        self._signals = 0
        self._printing = threading.Lock()

    def run(self) -> int:
        """Returns 0 when it was told to stop, 1 when a part could never be started."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        _allow_many_files()
        hopeless = False
        while not self._signals and not hopeless:
            for running in self._running:
                hopeless = hopeless or not self._look_after(running)
            time.sleep(INTERVAL)
        self._stop([running for running in self._running if running.part.first])
        self._stop(self._running)
        return 1 if hopeless else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _look_after(self, running: _Running) -> bool:
        """Starts a part that is due, notes that one has ended; false when there is no use in going on."""
        now = time.monotonic()
        if running.process is None:
            if now >= running.due:
                self._start(running)
            return True
        status = running.process.poll()
        if status is None:
            return True
        running.process = None
        running.ends = 1 if now - running.started > self._policy.steady else running.ends + 1
        delay = min(self._policy.delay * 2 ** (running.ends - 1), self._policy.longest_delay)
        running.due = now + delay
        if running.ends >= self._policy.attempts and not self._was_well():
            self._say("system", f"{running.part.name} stopped (rc={status}) {running.ends} times; giving up")
            return False
        self._say("system", f"{running.part.name} stopped (rc={status}); starting it again in {delay:g} s")
        return True

    def _start(self, running: _Running) -> None:
        process = subprocess.Popen(
            [sys.executable, "-I", str(CHILD), str(os.getpid()), *running.part.command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process alone, which then stops all in order
        )
        running.process, running.started = process, time.monotonic()
        assert process.stdout is not None
        printing = (running.part.name, process.stdout)
        threading.Thread(target=self._print_lines, args=printing, daemon=True).start()
        self._say("system", f"{running.part.name} started (pid={process.pid})")

    def _stop(self, wanted: Sequence[_Running]) -> None:
        """Asks parts to end, and ends those that have not when the time is up or on a second signal."""
        alive = [running for running in wanted if running.process is not None and running.process.poll() is None]
        for running in alive:
            self._signal(running, signal.SIGTERM)
        deadline = time.monotonic() + self._policy.grace
        while any(running.process and running.process.poll() is None for running in alive):
            if time.monotonic() > deadline or self._signals > 1:
                for running in alive:
                    self._signal(running, signal.SIGKILL)
            time.sleep(INTERVAL)
        for running in alive:
            if running.process is not None:
                self._say("system", f"{running.part.name} stopped (rc={running.process.returncode})")
                running.process = None

    @staticmethod
    def _signal(running: _Running, number: signal.Signals) -> None:
        if running.process is not None and running.process.poll() is None:
            os.killpg(running.process.pid, number)

    def _print_lines(self, name: str, lines: IO[bytes]) -> None:
        for line in lines:
            self._say(name, line.decode("utf-8", "replace").rstrip())

    def _say(self, name: str, text: str) -> None:
        with self._printing:
            print(f"{time.strftime('%H:%M:%S')} {name:<{self._width}} | {text}", flush=True)


def _allow_many_files() -> None:
    """Envoy has one open for each connection, and one for each upload under way."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
