"""Writes what was measured into docs/performance.md, and draws docs/performance.png."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from tests.load.figures import Figure, machine
from tests.machine import ROOT

PAGE = ROOT / "docs" / "performance.md"
MARKS = {True: "✓", False: "short", None: ""}


def table(figures: Sequence[Figure]) -> str:
    """Markdown: one row a figure, goal beside value."""
    rows = [f"| {one.what} | {one.goal} | {one.value} | {MARKS[one.met]} |" for one in figures]
    return "\n".join(["| what | goal | measured | |", "|---|---|---|---|", *rows])


def write(figures: Sequence[Figure], seconds: float, load_before: str) -> Path:
    """Replaces the figures of the page, and the plot; returns the page."""
    today = datetime.date.today().isoformat()
    took = f"{today}; the whole run took {seconds / 60:.1f} minutes"
    lines = "\n".join(f"- {line}" for line in (*machine(), load_before, took))
    draw(figures, PAGE.with_suffix(".png"))
    return put("bench", f"{table(figures)}\n\n{lines}")


def put(target: str, text: str) -> Path:
    """Replaces what a make target has written into the page; returns the page."""
    begin, end = f"<!-- written by make {target} -->", f"<!-- end of make {target} -->"
    before, found, rest = PAGE.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{PAGE} has no place for make {target}: {begin}…{end}")
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return PAGE


def draw(figures: Sequence[Figure], path: Path) -> None:
    """How much of each goal is reached, as bars on a logarithmic scale; right of the line it is met."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = [(one, one.share) for one in figures if one.share][::-1]
    _, axes = pyplot.subplots(figsize=(11, 0.36 * len(shown) + 1.2), layout="constrained")
    colours = ["#2f7d4f" if one.met else "#b5533c" for one, _ in shown]
    shares = [min(max(share, 0.1), 100) for _, share in shown]
    axes.barh([one.what.lstrip("… ") for one, _ in shown], [share - 1 for share in shares], left=1, color=colours)
    for row, ((one, _), share) in enumerate(zip(shown, shares, strict=True)):
        axes.annotate(one.value.split(" (")[0], (max(share, 1), row), (4, 0), textcoords="offset points", va="center")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.1, 300)
    axes.set_xlabel("measured over goal (or goal over measured, where less is better); the line is the goal")
    axes.tick_params(labelsize=8)
    axes.figure.savefig(path, dpi=110)
