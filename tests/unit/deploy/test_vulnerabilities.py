"""What is said of packages that are known to be vulnerable, or of which nothing is known."""

import json
import stat
from pathlib import Path

import pytest

from deploy.local.vulnerabilities import SAFE, UNKNOWN, VULNERABLE, main

SOUND = {"name": "sound", "version": "1", "vulns": []}
HOLED = {"name": "holed", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "skipped", "skip_reason": "Dependency not found"}


@pytest.fixture
def ask(tmp_path: Path):
    """Runs it on a pip-audit that answers so for each of two files; None: it fails."""

    def run(*answers: list[dict] | None) -> int:
        program = tmp_path / "pip-audit"
        program.write_text('#!/bin/sh\nfor file; do :; done\ncat "$file.json" || echo no way there >&2\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        files = [tmp_path / f"{number}.txt" for number in range(len(answers))]
        for file, answer in zip(files, answers, strict=True):
            if answer is not None:
                Path(f"{file}.json").write_text(json.dumps({"dependencies": answer}))
        return main([str(program), *map(str, files)])

    return run


def test_all_are_safe(ask, capsys: pytest.CaptureFixture[str]):
    assert ask([SOUND], [SOUND]) == SAFE
    assert capsys.readouterr().out == "1 packages checked, 0 known vulnerabilities\n"


def test_one_is_vulnerable(ask, capsys: pytest.CaptureFixture[str]):
    assert ask([SOUND], [HOLED, SKIPPED]) == VULNERABLE
    said = capsys.readouterr()
    assert "holed 2: PYSEC-1, mended in 2.1\n" in said.out
    assert said.err == "NOT CHECKED: skipped\n"


@pytest.mark.parametrize("answer", [[SKIPPED], None], ids=["it knows none", "it cannot be reached"])
def test_nobody_could_be_asked(ask, answer: list[dict] | None, capsys: pytest.CaptureFixture[str]):
    assert ask(answer) == UNKNOWN
    said = capsys.readouterr()
    assert said.err.startswith("NOT CHECKED") and not said.out
    assert ("no such file" in said.err.lower() or "no way there" in said.err) == (answer is None)


def test_what_could_not_be_asked_is_not_safe(ask):
    assert ask([SOUND], [SKIPPED]) == UNKNOWN
    assert ask([SOUND], None) == UNKNOWN
