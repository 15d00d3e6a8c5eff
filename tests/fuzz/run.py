"""Sends inputs by the hundred thousand to a system of its own, and tells what it did not take well.

`make fuzz INPUTS=1000000` runs it; `SEED=7` makes the same inputs again, and REPLAY=file sends one that was kept. An input
fails if a process ends, or if the answer is late, INTERNAL or HTTP 500, or not as the contract has it. Each kind of failure
is kept once, as small as it could be made, in a file in var/fuzz.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.system import System
from tests.e2e.watch import table
from tests.fuzz.fuzzer import Bounds, Fuzzer, Report
from tests.fuzz.inputs import load
from tests.fuzz.sending import fault
from tests.load.messages import UNLIMITED, data_folder
from tests.machine import ROOT

#: IDs of all kinds get past the first check, and small pictures are good enough.
SETTINGS = {"ID_REGEX": "(?s).*", "SCORE_TOL": "0.000", "NUM_AUG": "1"}


def system(folder: Path) -> System:
    """A system to be fuzzed: nobody is too fast for it."""
    weights = data_folder() / "weights"
    return System(folder, weights if weights.is_dir() else None, UNLIMITED, **SETTINGS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=3.0, help="after which an answer is late")
    parser.add_argument("--replay", type=Path, help="a file of a failure that was kept: sends that alone")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "fuzz", help="folder for failures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reco-fuzz-") as folder, system(Path(folder)) as running:
        fuzzer = Fuzzer(running, Bounds(late=options.seconds))
        if options.replay:
            return replay(fuzzer, options.replay)
        report = fuzzer.run(options.inputs, options.seed, progress=lambda report: print(_line(report), flush=True))
        for number, failure in enumerate(report.keep(options.out)):
            print(f"\nfailure {number + 1}: {failure}")
    show(report)
    return 1 if report.failures or report.complaints else 0


def replay(fuzzer: Fuzzer, path: Path) -> int:
    """Sends one input that was kept."""
    one = load(path)
    fuzzer.world.reset()
    answer = fuzzer.sender.send(one)
    why = fault(one, answer)
    print(f"{one.name}: {answer.status} after {answer.seconds:.2f} s; {why or 'as it should be'}\n{answer.text[:2000]}")
    return 1 if why else 0


def show(report: Report) -> None:
    """Prints the figures."""
    print(f"\nseed {report.seed}, {report.inputs} inputs in {report.seconds:.0f} s")
    for name in sorted(report.counts):
        statuses = ", ".join(f"{status} {count}" for status, count in report.counts[name].most_common())
        print(f"  {name:60} {report.counts[name].total():7}  slowest {report.slowest[name]:.2f} s  {statuses}")
    print(table(report.samples))
    print(*report.complaints, sep="\n")
    print(f"{len(report.failures)} kinds of failure, {report.failed} inputs that failed")


def _line(report: Report) -> str:
    return f"{report.inputs} inputs, {report.seconds:.0f} s, {len(report.failures)} kinds of failure"


if __name__ == "__main__":
    sys.exit(main())
