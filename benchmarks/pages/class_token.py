"""What the pages say of the errors that ``benchmarks/class_token.py`` measures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.lines import Row, read, table
from benchmarks.pages.searches import ROOT

FILE = ROOT / "benchmarks" / "class_token.csv"


def class_token(path: Path = FILE) -> str:
    """Relative squared errors of the class token and of all others, the best accuracy first."""
    headers = ["network", "bits", "stack", "class token", "other tokens", "top-1"]
    return table(read(path), headers, _line)


def _line(row: Row) -> list[str]:
    start = [f"`{row['network'].partition('_patch')[0]}`", row["bits"], f"`{row['stack']}`"]
    errors = [f"{float(row[name]):.2f}" for name in ("class_token", "other_tokens")]
    return [*start, *errors, f"{float(row['top1']):.1f}"]
