"""Processes are started again, with back-off; one that never starts ends the run."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.machine import ROOT

SCRIPT = """
import sys
from pathlib import Path
from deploy.local.supervisor import Part, Policy, Supervisor
policy = Policy(delay=0.05, longest_delay=0.1, grace={grace}, attempts=3)
parts = [Part("steady", ("/bin/sleep", "60"), first=True), Part("other", ("/bin/sh", "-c", {command!r}))]
sys.exit(Supervisor(parts, {{}}, Path("/"), was_well=lambda: {well}, policy=policy).run())
"""


def start(command: str, well: bool, grace: float = 5.0) -> subprocess.Popen[str]:
    script = SCRIPT.format(command=command, well=well, grace=grace)
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """All lines to the one that holds the text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_a_part_that_never_starts_ends_the_run():
    process = start("exit 3", well=False)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.count("other started") == 3
    assert "other stopped (rc=3); starting it again in 0.05 s" in said
    assert "other stopped (rc=3); starting it again in 0.1 s" in said
    assert "other stopped (rc=3) 3 times; giving up" in said
    assert "steady stopped (rc=-15)" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_well_once_is_started_again_for_ever(number: signal.Signals):
    process = start("echo hello; exit 3", well=True)
    said = ""
    for _ in range(5):
        said += read_until(process, "starting it again in")
    assert "other  | hello" in said
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_what_does_not_stop_is_ended_with_all_that_it_has_started():
    process = start("trap '' TERM; echo mine $$; sleep 60 & wait; sleep 60", well=True, grace=0.3)
    pid = int(read_until(process, "mine ").split()[-1])
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "other stopped (rc=-9)" in said
    assert running_in_group(pid) == []


def running_in_group(group: int) -> list[str]:
    """Processes of a group that have not ended; what nobody has asked about since is not counted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                found.append(path.parent.name)
    return found
