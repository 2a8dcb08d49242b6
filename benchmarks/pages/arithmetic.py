"""What the pages say of integer against float arithmetic: a line for each run of ``benchmarks/arithmetic.py``."""

from __future__ import annotations

import csv
from pathlib import Path

from tabulate import tabulate

from benchmarks.pages.searches import ROOT

ARITHMETIC = ROOT / "benchmarks" / "arithmetic.csv"
HEADERS = [
    "network",
    "bits",
    "stack",
    "on integers",
    "forward: float",
    "forward: integer",
    "float against itself",
    "integer",
    "both",
]


def arithmetic(path: Path = ARITHMETIC) -> str:
    """Forward against full precision, and the distance of a network to itself."""
    if not path.is_file():
        return "Not measured yet."
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tabulate([_line(row) for row in rows], HEADERS, tablefmt="pipe", disable_numparse=True)


def _line(row: dict[str, str]) -> list[str]:
    name = f"`{row['network'].partition('_patch')[0].partition('.')[0]}`" + ("" if row["weights"] == "real" else " (random)")
    start = [name, row["bits"], f"`{row['stack']}`", f"{float(row['share']):.0f} %", row["float"], row["integer"]]
    return [*start, row["float, oneDNN off"], _own(row), row["integer against float"]]


def _own(row: dict[str, str]) -> str:
    """Integer arithmetic against itself: one word where all three changes leave every byte."""
    texts = [row[f"integer, {change}"] for change in ("oneDNN off", "batch 7", "two threads")]
    return texts[0] if len(set(texts)) == 1 else "; ".join(texts)
