"""Asks whether pinned packages are known to be vulnerable: what `make vulnerabilities` calls.

`python -m deploy.local.vulnerabilities PIP_AUDIT FILE…`. PIP_AUDIT says nothing wrong of packages that it was told nothing
about, as it is where only a mirror of the package index can be reached: here that is no good news.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds that the answers to all questions may take.
PATIENCE = 600

SAFE, VULNERABLE, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Answers:
    """What is known of packages, each `name version`.

    Attributes:
        asked: those that something is known of, be it that they are safe.
        unknown: those that nothing is.
        vulnerable: a line for each vulnerability.
    """

    asked: tuple[str, ...]
    unknown: tuple[str, ...]
    vulnerable: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns VULNERABLE where a package is, UNKNOWN where of any that is not known, SAFE otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pip_audit", help="the program")
    parser.add_argument("files", nargs="+", type=Path, help="requirements with hashes")
    options = parser.parse_args(arguments)
    complaint, answers = "", Answers((), (), ())
    for file in options.files:
        found, why = _ask(options.pip_audit, file)
        complaint = complaint or why
        answers = Answers(*(one + other for one, other in zip(_parts(answers), _parts(found), strict=True)))
    return _tell(answers, complaint)


def _ask(program: str, file: Path) -> tuple[Answers, str]:
    """What is known of the packages of a file, and why nothing is."""
    command = [
        program,
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner",
        "off",
        "--format",
        "json",
        "-r",
        str(file),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        return read_answers(json.loads(done.stdout)["dependencies"]), ""
    except subprocess.TimeoutExpired:
        return Answers((), (), ()), f"{file}: no answer within {PATIENCE} s"
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines() or ["pip-audit says nothing"]
        return Answers((), (), ()), f"{file}: {lines[-1]}"


def read_answers(dependencies: Iterable[dict[str, Any]]) -> Answers:
    """What pip-audit's `dependencies` say; KeyError where they are none."""
    asked, unknown, vulnerable = [], [], []
    for one in dependencies:
        if "skip_reason" in one:
            unknown.append(one["name"])
            continue
        name = f"{one['name']} {one['version']}"
        asked.append(name)
        for hole in one["vulns"]:
            mended = ", ".join(hole["fix_versions"]) or "no version yet"
            vulnerable.append(f"{name}: {hole['id']}, mended in {mended}")
    return Answers(tuple(asked), tuple(unknown), tuple(vulnerable))


def _parts(answers: Answers) -> tuple[tuple[str, ...], ...]:
    return answers.asked, answers.unknown, answers.vulnerable


def _tell(answers: Answers, complaint: str) -> int:
    asked, unknown, vulnerable = (sorted(set(part)) for part in _parts(answers))
    for line in vulnerable:
        print(line)
    if not asked:
        why = complaint or "it knows none of these packages, as a mirror of the package index does not"
        print(
            f"NOT CHECKED: the service that knows of vulnerabilities cannot be asked from here: {why}", file=sys.stderr
        )
        return UNKNOWN
    print(f"{len(asked)} packages checked, {len(vulnerable)} known vulnerabilities")
    if unknown or complaint:
        print(f"NOT CHECKED: {', '.join(unknown)} {complaint}".rstrip(), file=sys.stderr)
    return VULNERABLE if vulnerable else UNKNOWN if unknown or complaint else SAFE


if __name__ == "__main__":
    sys.exit(main())
